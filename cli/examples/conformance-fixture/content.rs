//! Tools whose answer is fixed: each kind of content, and an error.
use rmcp::model::{AudioContent, CallToolResult, ContentBlock, ResourceContents, Tool};

use crate::tools::{plain, text};

/// One red pixel.
pub const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";

/// No sound at all, 44.1 kHz.
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=";

pub fn tools() -> Vec<Tool> {
    vec![
        plain("test_simple_text", "Answers a text"),
        plain("test_image_content", "Answers an image"),
        plain("test_audio_content", "Answers a sound"),
        plain("test_embedded_resource", "Answers an embedded resource"),
        plain("test_multiple_content_types", "Answers a text, an image and a resource"),
        plain("test_error_handling", "Fails always"),
    ]
}

pub fn call(name: &str) -> Option<CallToolResult> {
    let content = match name {
        "test_simple_text" => return Some(text("This is a simple text response for testing.")),
        "test_error_handling" => {
            let content = ContentBlock::text("This tool intentionally returns an error for testing");
            return Some(CallToolResult::error(vec![content]));
        }
        "test_image_content" => vec![ContentBlock::image(PNG, "image/png")],
        "test_audio_content" => vec![ContentBlock::Audio(AudioContent::new(WAV, "audio/wav"))],
        "test_embedded_resource" => {
            vec![resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")]
        }
        "test_multiple_content_types" => vec![
            ContentBlock::text("Multiple content types test:"),
            ContentBlock::image(PNG, "image/png"),
            resource("test://mixed-content-resource", "application/json", r#"{"test":"data","value":123}"#),
        ],
        _ => return None,
    };
    Some(CallToolResult::success(content))
}

fn resource(uri: &str, mime_type: &str, text: &str) -> ContentBlock {
    ContentBlock::resource(ResourceContents::text(text, uri).with_mime_type(mime_type))
}
