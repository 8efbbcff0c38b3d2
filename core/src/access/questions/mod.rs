//! Questions about rights: what the answer is, and why.
