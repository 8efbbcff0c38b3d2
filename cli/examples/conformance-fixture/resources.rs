//! The resources, and the template.
use rmcp::model::{
    CacheScope, ErrorData, ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult, Resource,
    ResourceContents, ResourceTemplate,
};
use serde_json::json;

use crate::content::PNG;

/// The resource that `test_trigger_resource_update` updates.
pub const WATCHED: &str = "test://watched-resource";

const TTL_MS: u64 = 1_000;

pub fn list() -> ListResourcesResult {
    let resource = |uri: &str, name: &str, description: &str, mime_type: &str| {
        Resource::new(uri, name).with_description(description).with_mime_type(mime_type)
    };
    let resources = vec![
        resource("test://static-text", "static-text", "A text that stays as it is", "text/plain"),
        resource("test://static-binary", "static-binary", "An image that stays as it is", "image/png"),
        resource(WATCHED, "watched-resource", "A text that can be subscribed to", "text/plain"),
    ];
    ListResourcesResult::with_all_items(resources).with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Public)
}

pub fn templates() -> ListResourceTemplatesResult {
    let template = ResourceTemplate::new("test://template/{id}/data", "template")
        .with_description("Data of an id")
        .with_mime_type("application/json");
    ListResourceTemplatesResult::with_all_items(vec![template]).with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Public)
}

pub fn read(uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let contents = match uri {
        "test://static-text" => ResourceContents::text("This is the content of the static text resource.", uri),
        "test://static-binary" => ResourceContents::blob(PNG, uri).with_mime_type("image/png"),
        WATCHED => ResourceContents::text("This resource can be watched.", uri),
        _ => template(uri).ok_or_else(|| {
            ErrorData::resource_not_found(format!("there is no resource {uri}"), Some(json!({"uri": uri})))
        })?,
    };
    Ok(ReadResourceResult::new(vec![contents]).with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Private))
}

fn template(uri: &str) -> Option<ResourceContents> {
    let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
    let data = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
    Some(ResourceContents::text(data.to_string(), uri).with_mime_type("application/json"))
}
