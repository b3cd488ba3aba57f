use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

fn read(text: &str) -> Vec<Document> {
    parse(None, text, &Limits::default()).unwrap_or_else(|errors| unreachable!("{errors:?}"))
}

fn complaints(text: &str) -> Vec<String> {
    complaints_within(text, &Limits::default())
}

fn complaints_within(text: &str, limits: &Limits) -> Vec<String> {
    parse(None, text, limits).expect_err("the text is wrong").iter().map(ToString::to_string).collect()
}

/// The value of a single document that may be anything, as Go's converter takes it.
fn value(text: &str) -> Result<Value, Vec<Mistake>> {
    let limits = Limits::default();
    let chunk = split::chunks(text).find(|chunk| chunk.filled);
    let loaded = chunk.map(|chunk| load::load(&chunk, &mut Budget::new(&limits), false)).transpose()?.flatten();
    Ok(loaded.map(|loaded| loaded.value).unwrap_or_default())
}

#[test]
fn snippets_mean_what_they_mean_to_go() {
    let mut failures = String::new();
    let mut cases = 0;
    for case in include_str!("corpus.txt").split("@@ ").skip(1) {
        let (name, rest) = case.split_once('\n').expect("a case has a name");
        let (yaml, expected) = rest.split_once("@= ").expect("a case has Go's answer");
        let (go, ours) = expected.split_once('\n').expect("a case ends with a line");
        let ours = ours.strip_prefix("@! ").map(str::trim_end);
        let found = value(yaml).ok();
        let expected = ours.unwrap_or(go);
        let mut values = serde_json::Deserializer::from_str(expected).into_iter::<Value>();
        let expected = (!expected.starts_with("error")).then(|| values.next().expect("JSON").expect("JSON"));
        if found != expected {
            writeln!(failures, "{name}:\n  found    {found:?}\n  expected {expected:?}").expect("a string");
        }
        cases += 1;
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(cases > 100, "{cases}");
}

#[test]
fn positions_name_the_document_and_the_line_of_the_source() {
    let text =
        "# licence\n---\n# Source: chart/a.yaml\nkind: A\n---\n\n---\n# nothing\n--- # c\nkind: B\n--- {kind: C}\n";
    let positions: Vec<String> = read(text).iter().map(|document| document.position.to_string()).collect();
    assert_eq!(positions, ["document 1, line 4", "document 4, line 10", "document 5, line 11"]);
    let named = parse(Some("web/a.yaml"), "kind: A\n", &Limits::default()).unwrap();
    assert_eq!(named[0].position.to_string(), "web/a.yaml: document 1, line 1");
}

#[test]
fn all_mistakes_of_all_documents_are_told_at_once() {
    let text = "a: 1\na: 2\nb: .inf\n---\nkind: Fine\n---\nx: [1\n---\n- a\n---\nonly text\n---\n{b: 1\n";
    assert_eq!(
        complaints(text),
        [
            "document 1, line 2: duplicate key `a`: the first is on line 1",
            "document 1, line 3: infinity and not-a-number have no form in JSON: quote the value if it is meant as text",
            "document 3, line 7: a bracket `[` that is not closed",
            "document 4, line 9: the document is a list, not an object with `apiVersion` and `kind`: write `---` between objects \
             instead of `-`, or a `List` with `items`",
            "document 5, line 11: the document is a text, not an object with `apiVersion` and `kind`",
            "document 6, line 13: a bracket `{` that is not closed",
        ]
    );
}

#[test]
fn an_alias_does_not_reach_across_documents() {
    let found = complaints("a: &x 1\n---\nb: *x\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("document 2, line 3: an alias `*name` of an anchor"), "{found:?}");
}

#[test]
fn an_alias_inside_of_its_own_value_is_refused() {
    assert_eq!(
        complaints("a: &x\n  b: *x\n"),
        ["document 1, line 2: an alias stands inside of the value that it stands for"]
    );
}

#[test]
fn windows_line_ends_and_marks_change_nothing() {
    let unix = "kind: A\ndata:\n  a: |\n    one\n\n    two\n  b: x\n    y\n---\nkind: B\n";
    let windows = format!("\u{feff}{}", unix.replace('\n', "\r\n"));
    let (unix, windows) = (read(unix), read(&windows));
    assert_eq!(unix.len(), 2);
    for (left, right) in unix.iter().zip(&windows) {
        assert_eq!((&left.value, &left.position), (&right.value, &right.position));
    }
    assert_eq!(unix[0].value["data"]["a"], json!("one\n\ntwo\n"));
}

#[test]
fn a_null_document_is_an_empty_one() {
    assert_eq!(read("").len(), 0);
    assert_eq!(read("~\n---\nnull\n---\n# c\n...\n").len(), 0);
}

#[test]
fn lists_are_unpacked_with_a_position_for_each_item() {
    let text = "---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  metadata:\n    annotations:\n      \
                a: b\n- {apiVersion: v1, kind: List, items: [\n  {kind: Inner}]}\n---\nkind: Last\n";
    let documents = read(text);
    let found: Vec<_> =
        documents.iter().map(|document| (&document.value["kind"], document.position.to_string())).collect();
    assert_eq!(
        found,
        [
            (&json!("Secret"), "document 1, line 5".to_owned()),
            (&json!("Inner"), "document 1, line 11".to_owned()),
            (&json!("Last"), "document 2, line 13".to_owned()),
        ]
    );
    assert_eq!(documents[0].annotations, BTreeMap::from([("a".to_owned(), 9)]));
    assert_eq!(documents[0].annotation_spans["a"], Span { line: 9, column: 10, length: 1 });
    assert_eq!(documents[1].line_of(&["kind"]), Some(11));
}

#[test]
fn items_of_a_typed_list_get_the_kind_that_clients_leave_out() {
    let text = "apiVersion: apps/v1\nkind: DeploymentList\nmetadata: {}\nitems:\n- metadata: {name: a}\n";
    let found: Vec<Value> = read(text).into_iter().map(|document| document.value).collect();
    assert_eq!(found, [json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}})]);
}

#[test]
fn a_custom_resource_whose_kind_ends_in_list_is_an_object() {
    for text in [
        "apiVersion: x.io/v1\nkind: AllowList\nmetadata: {name: a}\nitems: [{metadata: {}}]\n",
        "apiVersion: x.io/v1\nkind: AllowList\nitems: [1.2.3.4]\n",
        "apiVersion: x.io/v1\nkind: List\nitems: []\n",
        "apiVersion: x.io/v1\nkind: AllowList\nspec: {}\n",
    ] {
        let documents = read(text);
        assert_eq!(documents.len(), 1, "{text}");
        assert!(documents[0].value["kind"].as_str().unwrap().ends_with("List"), "{text}");
    }
}

#[test]
fn a_list_whose_items_are_no_objects_is_refused_by_item() {
    assert_eq!(
        complaints("apiVersion: v1\nkind: List\nitems:\n- kind: A\n- 5\n-\n"),
        [
            "document 1, line 5: item 2 of the list is a number, not an object with `apiVersion` and `kind`",
            "document 1, line 6: item 3 of the list is null, not an object with `apiVersion` and `kind`",
        ]
    );
    assert_eq!(
        complaints("apiVersion: v1\nkind: List\nitems: {a: b}\n"),
        ["document 1, line 3: `items` of a `List` has to be a list of objects"]
    );
}

#[test]
fn annotations_have_lines_and_spans() {
    let text = "kind: A\nmetadata:\n  name: x\n  annotations:\n    wave: \"-1\"  # first\n    é: ключ\n    note: |\n      a\n      b\n    \
                on: plain text\n    flow: {a: 1}\n";
    let document = &read(text)[0];
    let expected = [("flow", 11), ("note", 7), ("true", 10), ("wave", 5), ("é", 6)];
    assert_eq!(document.annotations, expected.map(|(key, line)| (key.to_owned(), line)).into());
    let span = |key: &str| document.annotation_spans.get(key).copied();
    assert_eq!(span("wave"), Some(Span { line: 5, column: 11, length: 4 }));
    assert_eq!(span("é"), Some(Span { line: 6, column: 8, length: 4 }));
    assert_eq!(span("true"), Some(Span { line: 10, column: 9, length: 10 }));
    assert_eq!(span("note"), Some(Span { line: 8, column: 7, length: 1 }));
    assert_eq!(span("flow"), None);
}

#[test]
fn every_key_and_scalar_has_a_span_where_it_is_asked_for() {
    let text = "kind: A\nspec:\n  - {name: 'é', \"x\": [1, two]}\n  - |\n    text\n  - *a\n".replace("*a", "&b c");
    let document = &parse_with_spans(None, &text, &Limits::default()).unwrap()[0];
    let span = |line, column, length| Some(Span { line, column, length });
    assert_eq!(document.span_of(&["kind"]), span(1, 7, 1));
    assert_eq!(document.span_of_key(&["spec"]), span(2, 1, 4));
    assert_eq!(document.span_of(&["spec"]), None, "no scalar");
    assert_eq!(document.span_of_key(&["spec", "0", "name"]), span(3, 6, 4));
    assert_eq!(document.span_of(&["spec", "0", "name"]), span(3, 12, 3));
    assert_eq!(document.span_of_key(&["spec", "0", "x"]), span(3, 17, 3));
    assert_eq!(document.span_of(&["spec", "0", "x", "1"]), span(3, 26, 3));
    assert_eq!(document.span_of(&["spec", "1"]), span(5, 5, 4));
    assert_eq!(read(&text)[0].span_of(&["kind"]), None, "not asked for");
}

#[test]
fn a_mistake_has_its_column_where_the_parser_knows_it() {
    let column = |text: &str| parse(None, text, &Limits::default()).unwrap_err()[0].column;
    assert_eq!(column("a: 1\nb: {c: 1, c: 2}\n"), Some(11));
    assert_eq!(column("a: 1\n b: 2\n"), Some(3));
}

#[test]
fn annotations_of_a_pod_template_are_not_the_objects_own() {
    let document = &read("kind: A\nspec:\n  template:\n    metadata:\n      annotations: {a: b}\n")[0];
    assert!(document.annotations.is_empty() && document.annotation_spans.is_empty());
}

#[test]
fn annotations_that_an_alias_or_a_merge_brings_have_its_line() {
    let text = "x:\n  a: &a\n    one: v\nmetadata:\n  annotations:\n    two: &v w\n    <<: *a\n    three: *v\n";
    let document = &read(text)[0];
    assert_eq!(
        document.annotations,
        [("one", 7), ("three", 8), ("two", 6)].map(|(key, line)| (key.to_owned(), line)).into()
    );
    assert_eq!(document.annotation_spans["three"], Span { line: 8, column: 12, length: 2 });
    let document = &read("x: &x\n  annotations:\n    one: v\nmetadata: *x\n")[0];
    assert_eq!(document.annotations["one"], 4);
}

#[test]
fn lines_of_fields_are_found_by_path() {
    let document = &read("# c\nkind: A\nspec:\n  list:\n  - a: 1\n  - a: 2\n    b: 3\n")[0];
    assert_eq!(document.line_of(&[]), Some(2));
    assert_eq!(document.line_of(&["spec", "list", "1", "b"]), Some(7));
    assert_eq!(document.line_of(&["spec", "list", "1"]), Some(6));
    assert_eq!(document.line_of(&["spec", "list", "2"]), None);
    assert_eq!(document.line_of(&["spec", "nothing"]), None);
    assert_eq!(document.position_of(&["spec", "list"]).to_string(), "document 1, line 4");
    assert_eq!(document.position_of(&["status"]).to_string(), "document 1, line 2");
}

#[test]
fn every_limit_is_told_with_its_value() {
    let limits = Limits { bytes: 100, documents: 2, nodes: 20, depth: 4, alias_nodes: 8, alias_bytes: 20 };
    for (text, expected) in [
        ("x".repeat(101), "document 1, line 1: the source has 101 bytes, more than the limit of 100"),
        (
            "--- {a: 1}\n--- {a: 1}\n--- {a: 1}\n--- {".to_owned(),
            "document 3, line 3: more objects than the limit of 2: split the source",
        ),
        (
            "a: 1\nb: [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]\n".to_owned(),
            "document 1, line 2: more values and keys than the limit of 20: split the source",
        ),
        ("a: 1\nb: [[[[1]]]]\n".to_owned(), "document 1, line 2: nested deeper than the limit of 4 levels"),
        (format!("a: 1\nb: {}\n", "[".repeat(40)), "document 1, line 2: nested deeper than the limit of 4 levels"),
        ("a: &x [[1]]\nb:\n  c: [*x]\n".to_owned(), "document 1, line 3: nested deeper than the limit of 4 levels"),
        (
            "a: &x [1, 1]\nb: [*x, *x]\n".to_owned(),
            "document 1, line 2: anchors and aliases copy more values than the limit of 8: write them out, or repeat less",
        ),
        (
            "a: &x aaaaaaaaaaaa\nb: *x\n".to_owned(),
            "document 1, line 2: anchors and aliases copy more bytes than the limit of 20: write them out, or repeat less",
        ),
    ] {
        assert_eq!(complaints_within(&text, &limits), [expected]);
    }
}

#[test]
fn an_alias_bomb_is_refused_after_bounded_copies() {
    let mut text = "a0: &a0 [x, x]\n".to_owned();
    for level in 1..60 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        writeln!(text, "a{level}: &a{level} [{below}]").unwrap();
    }
    let found = complaints(&text);
    assert_eq!(
        found,
        [
            "document 1, line 6: anchors and aliases copy more values than the limit of 200000: write them out, or repeat less"
        ]
    );
}

#[test]
fn ten_thousand_documents_are_read() {
    let text: String = (0..10_000).fold(String::new(), |text, index| text + &format!("---\nkind: A{index}\n"));
    let documents = read(&text);
    assert_eq!(documents.len(), 10_000);
    assert_eq!(documents[9_999].position.to_string(), "document 10000, line 20000");
}

#[test]
fn a_flood_of_mistakes_is_cut_off() {
    let found = complaints(&"a: 1\na: 2\n---\n".repeat(1_000));
    assert_eq!(found.len(), MISTAKES + 1);
    assert_eq!(found[MISTAKES], "document 100, line 298: 100 mistakes so far: what follows this document is not read");
    let found = complaints(&"a: 1\n".repeat(1_000));
    assert_eq!(found.len(), 21);
    assert!(found[20].ends_with("too many mistakes: the rest of this document is not read"), "{found:?}");
}

#[test]
fn no_complaint_and_no_debug_form_shows_a_value() {
    let secret = "hunter2";
    for text in [
        "a: *hunter2\n",
        "a: &hunter2\nb: *hunter3\n",
        "a: !!int hunter2\n",
        "a: \"hunter2\n",
        "a: \"\\hunter2\"\n",
        "a: @hunter2\n",
        "a: hunter2: x\n",
        "a: [hunter2\n",
        "a: x\n hunter2\nb\n",
        "hunter2\n",
        "- hunter2\n",
        "a: !hunter2!x y\n",
        "%hunter2 x\na: b: c",
        "\"hunter2 \\\"x\": 1\n\"hunter2 \\\"x\": 2\n",
        "apiVersion: v1\nkind: List\nitems: [hunter2]\n",
        "a: 'x'hunter2\n",
        "a: !!binary hunter2\n",
        "a: {hunter2: [}\n",
    ] {
        for complaint in complaints(text) {
            assert!(!complaint.contains(secret), "{complaint}");
        }
    }
    let documents = read("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}\n");
    assert!(!format!("{documents:?}").contains(secret));
}

/// JSON as an API server could hold it. The characters that YAML allows nowhere are left out.
fn arbitrary_json() -> impl Strategy<Value = Value> {
    let text = "[ -~\n\t\r\"\\\\éж\u{85}\u{a0}\u{2028}😀]{0,8}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e15..1e15_f64)
            .prop_filter("integers come back as integers", |value| value.fract() != 0.0)
            .prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(text, inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Text that is mostly made of what YAML gives a meaning to.
fn yaml_like() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "a",
        "b",
        ": ",
        ":",
        "\n",
        "\n  ",
        "- ",
        "\"",
        "'",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "#",
        "|\n",
        ">-\n",
        "&x ",
        "*x",
        "<<: ",
        "? ",
        "!!int ",
        "1",
        ".inf",
        "---\n",
        "...\n",
        "\n---\n",
        "%YAML 1.1\n",
        "\t",
        "\r\n",
        "\u{feff}",
        "é",
        "a: 1\n",
        "kind: List\n",
        "apiVersion: v1\n",
        "items:\n",
        "metadata:\n",
        "  annotations:\n",
        "    k: v\n",
    ]);
    prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
}

fn check_positions(text: &str) {
    let last = u32::try_from(text.lines().count() + text.matches('\r').count()).unwrap() + 1;
    let positions: Vec<Position> = match parse(None, text, &Limits::default()) {
        Ok(documents) => {
            let within = |line: &u32| (1..=last).contains(line);
            assert!(documents.iter().all(|document| document.annotations.values().all(within)), "{documents:?}");
            assert!(
                documents.is_sorted_by_key(|document| (document.position.document, document.position.line)),
                "{documents:?}"
            );
            documents.into_iter().map(|document| document.position).collect()
        }
        Err(errors) => errors.into_iter().map(|error| error.position).collect(),
    };
    assert!(positions.iter().all(|position| position.line >= 1 && position.line <= last), "{positions:?} of {last}");
    assert!(positions.is_sorted_by_key(|position| position.document), "{positions:?}");
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        check_positions(&text);
    }

    #[test]
    fn no_yaml_makes_the_parser_panic_and_positions_stay_inside(text in yaml_like()) {
        check_positions(&text);
    }

    #[test]
    fn json_is_read_as_itself(map in prop::collection::btree_map("[a-z]{1,6}", arbitrary_json(), 1..6), pretty: bool) {
        let object = Value::Object(map.into_iter().map(|(key, value)| (format!("k{key}"), value)).collect::<Map<_, _>>());
        let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap();
        prop_assert_eq!(&read(&text)[0].value, &object);
    }

    #[test]
    fn documents_are_read_as_if_they_stood_alone(objects in prop::collection::vec(arbitrary_json(), 1..6)) {
        let objects: Vec<Value> = objects.into_iter().map(|value| json!({ "value": value })).collect();
        let text = objects.iter().fold(String::new(), |text, object| text + &format!("---\n{object}\n"));
        let documents = read(&text);
        let found: Vec<&Value> = documents.iter().map(|document| &document.value).collect();
        prop_assert_eq!(found, objects.iter().collect::<Vec<_>>());
        let lines: Vec<u32> = documents.iter().map(|document| document.position.line).collect();
        let expected: Vec<u32> = (1..).step_by(2).map(|line| line + 1).take(lines.len()).collect();
        prop_assert_eq!(lines, expected);
    }
}
