use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    #[serde(default, rename = "n")]
    _n: u32,
    #[serde(default, rename = "nothing")]
    _nothing: Nothing,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outer {
    #[serde(default, rename = "inner")]
    _inner: Vec<Inner>,
    #[serde(default, rename = "stop")]
    _stop: Texts,
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let check = |json: &str, param: Option<&str>, expect: &str| {
        let problem = parse::<Outer>(json.as_bytes(), &["user"]).unwrap_err();
        assert_eq!(problem.param.as_deref(), param, "{json}: {problem:?}");
        assert!(problem.message.contains(expect), "{json}: {problem:?}");
    };
    check("{", None, "not JSON");
    check("1", None, "the body");
    check("{} {}", None, "trailing");
    check(r#"{"inner": 1}"#, Some("inner"), "expected a sequence");
    check(r#"{"inner": [{"n": 1}, {"n": -1}]}"#, Some("inner[1].n"), "expected u32");
    check(r#"{"inner": [{"x": 1}]}"#, Some("inner[0].x"), "no field `inner[0].x`");
    check(r#"{"other": 1}"#, Some("other"), "no field `other`");
    check(r#"{"user": "me"}"#, Some("user"), "no effect");
    check(r#"{"inner": [{"nothing": 1}]}"#, Some("inner[0].nothing"), "no effect");
    check(r#"{"inner": [{"nothing": [1]}]}"#, Some("inner[0].nothing"), "no effect");
    check(r#"{"stop": [1]}"#, Some("stop[0]"), "expected a string");
    assert!(parse::<Outer>(br#"{"inner": [{"nothing": null}, {"nothing": []}], "stop": "a"}"#, &[]).is_ok());
    assert!(parse::<Outer>(br#"{"stop": "a", "stop": "b"}"#, &[]).unwrap_err().message.contains("duplicate"));
    assert!(parse::<Outer>(b"{\"stop\": \"\xff\"}", &[]).is_err(), "not UTF-8");
    assert!(parse::<Outer>("[".repeat(100_000).as_bytes(), &[]).is_err());
}
