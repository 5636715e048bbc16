//! The interface as others read it: `/openapi.json`, and the page of the reference. Both are made of the list of routes and of
//! the types that read requests, so neither can say anything else than the program does.

use crate::routes::{Asks, ROUTES, Route};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// The interface in the form of OpenAPI 3.1.
pub fn document() -> Value {
    let mut generator = generator();
    let mut paths = Map::new();
    for route in ROUTES {
        let operation = operation(route, &mut generator);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_lowercase()] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Genera", "version": env!("CARGO_PKG_VERSION"),
            "description": "Models as a service. A field that would have no effect is refused with 400 and named.",
        },
        "servers": [{ "url": "/" }],
        "security": [{}, { "key": [] }],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
            "responses": { "problem": {
                "description": "What is wrong, what was expected, and how to mend it.",
                "content": { "application/json": { "schema": problem() } },
            } },
        },
    })
}

fn generator() -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    settings.into_generator()
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut content = Map::from_iter([(route.media_type.to_owned(), json!({}))]);
    if route.answers.contains("`stream`") {
        content.insert("text/event-stream".to_owned(), json!({}));
    }
    let mut operation = json!({
        "summary": route.about, "operationId": identifier(route),
        "responses": {
            "200": { "description": route.answers, "content": content },
            "default": { "$ref": "#/components/responses/problem" },
        },
    });
    if let Some(asks) = &route.asks {
        let schema = (asks.schema)(generator);
        operation["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
        operation["x-without-effect"] = json!(asks.without_effect);
    }
    if route.path.contains("{name}") {
        operation["parameters"] =
            json!([{ "name": "name", "in": "path", "required": true, "schema": { "type": "string" } }]);
    }
    operation
}

fn identifier(route: &Route) -> String {
    let words = route.path.split(['/', '{', '}', '.']).filter(|word| !word.is_empty() && *word != "v1");
    words.fold(route.method.to_lowercase(), |name, word| name + "_" + word)
}

fn problem() -> Value {
    let text = json!({ "type": ["string", "null"] });
    let fields = json!({ "message": { "type": "string" }, "type": { "type": "string" }, "param": text, "code": text });
    let error = json!({ "type": "object", "properties": fields, "required": ["message", "type", "param", "code"] });
    json!({ "type": "object", "properties": { "error": error }, "required": ["error"] })
}

const INTRODUCTION: &str = "\
# The HTTP interface

What `genera serve` answers; [the guide](../guides/serve.md) tells how to start it. The same in the form of OpenAPI 3.1 is at
`/openapi.json` of a running server. Requests are JSON and say so (`Content-Type: application/json`). A field that is unknown or
would have no effect is refused with 400, and the error names it:

```json
{\"error\": {\"message\": \"…\", \"type\": \"invalid_request_error\", \"param\": \"temperature\", \"code\": null}}
```

Where the server has keys, every route but those of health asks for one: `Authorization: Bearer KEY` or `x-api-key: KEY`. 429 and 503
come with `Retry-After`.
";

/// The page of the reference.
pub fn reference() -> String {
    let mut generator = generator();
    let mut page = INTRODUCTION.to_owned();
    let mut of_route = |route: &Route| {
        // Writing to a text cannot fail.
        let _ = write!(page, "\n## {} {}\n\n{}\n\nAnswers: {}\n", route.method, route.path, route.about, route.answers);
        if let Some(asks) = &route.asks {
            page += &fields(asks, &mut generator);
        }
    };
    ROUTES.iter().for_each(&mut of_route);
    for (name, schema) in generator.take_definitions(true) {
        if !name.ends_with("Request") {
            page += &definition(&name, &schema);
        }
    }
    page
}

/// The fields of a request as a table, and those that are refused.
fn fields(asks: &Asks, generator: &mut SchemaGenerator) -> String {
    let schema = (asks.schema)(generator);
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    let resolved = generator.definitions().get(name).cloned().unwrap_or_default();
    let mut text = table(&resolved);
    if !asks.without_effect.is_empty() {
        let names: Vec<String> = asks.without_effect.iter().map(|name| format!("`{name}`")).collect();
        let _ = write!(text, "\nRefused, since it would have no effect here: {}.\n", names.join(", "));
    }
    text
}

fn table(schema: &Value) -> String {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut text = "\n| field | is | meaning |\n|---|---|---|\n".to_owned();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let must = if required.contains(&name.as_str()) { ", required" } else { "" };
        let about = field["description"].as_str().unwrap_or_default().replace('\n', " ");
        let _ = writeln!(text, "| `{name}` | {}{must} | {about} |", kind(field));
    }
    text
}

/// A type that several fields have.
fn definition(name: &str, schema: &Value) -> String {
    let about = schema["description"].as_str().unwrap_or_default();
    let mut text = format!("\n## {name}\n\n{about}\n");
    if schema["properties"].is_object() {
        text += &table(schema);
    }
    let forms = schema["oneOf"].as_array().or(schema["anyOf"].as_array());
    for form in forms.into_iter().flatten() {
        let fields: Vec<String> = form["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, field)| format!("`{name}`: {}", kind(field)))
            .collect();
        let about = form["description"].as_str().unwrap_or_default();
        let what = if fields.is_empty() { kind(form) } else { fields.join(", ") };
        let _ = writeln!(text, "- {what}{}{about}", if about.is_empty() { "" } else { ": " });
    }
    if let Some(values) = schema["enum"].as_array() {
        let _ = writeln!(text, "\nOne of {}.", listed(values));
    }
    text
}

/// What a field holds, in a few words.
fn kind(schema: &Value) -> String {
    if let Some(path) = schema["$ref"].as_str() {
        let name = path.rsplit('/').next().unwrap_or_default();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(constant) = schema.get("const") {
        return format!("`{constant}`");
    }
    if let Some(values) = schema["enum"].as_array() {
        return listed(values);
    }
    let forms = schema["anyOf"].as_array().or(schema["oneOf"].as_array());
    if let Some(forms) = forms {
        let mut kinds: Vec<String> = forms.iter().filter(|form| form["type"] != "null").map(kind).collect();
        kinds.dedup();
        return kinds.join(" or ");
    }
    let names: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect(),
        _ => Vec::new(),
    };
    match names.first() {
        None => "JSON".to_owned(),
        Some(&"array") => format!("list of {}", kind(&schema["items"])),
        Some(name) => (*name).to_owned(),
    }
}

fn listed(values: &[Value]) -> String {
    values.iter().map(|value| format!("`{value}`")).collect::<Vec<String>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_in_the_document_leads_somewhere() {
        let document = document();
        let mut open = vec![&document];
        let mut n_references = 0;
        while let Some(value) = open.pop() {
            if let Some(path) = value.get("$ref").and_then(Value::as_str) {
                n_references += 1;
                assert!(document.pointer(path.trim_start_matches('#')).is_some(), "{path}");
            }
            match value {
                Value::Array(items) => open.extend(items),
                Value::Object(fields) => open.extend(fields.values()),
                _ => {}
            }
        }
        assert!(n_references > 20, "{n_references}");
        let chat = &document["components"]["schemas"]["ChatRequest"];
        assert_eq!(chat["required"], json!(["messages"]));
        assert_eq!(chat["additionalProperties"], false);
    }

    #[test]
    fn every_field_is_explained() {
        let document = document();
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            let is_request = name.ends_with("Request");
            for (field, about) in schema["properties"].as_object().into_iter().flatten().filter(|_| is_request) {
                assert!(
                    about["description"].is_string() || about["$ref"].is_string(),
                    "{name}.{field} is not explained"
                );
            }
        }
        assert!(reference().contains("| `temperature` | number |"), "{}", reference());
    }
}
