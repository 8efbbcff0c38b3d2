//! Speaks to the control plane.
