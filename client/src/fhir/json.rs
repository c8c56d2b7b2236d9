//! Reading JSON that came from outside: nothing ambiguous, nothing deep, nothing echoed.

use core::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{MAX_DEPTH, Problem};

/// Parses one value. A key twice in an object, or nesting beyond [`MAX_DEPTH`], is refused:
/// of two `meta` another reader would take the other.
pub(super) fn parse(text: &str) -> Result<Value, Problem> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict(MAX_DEPTH).deserialize(&mut reader).map_err(|error| problem(&error))?;
    reader.end().map_err(|error| problem(&error))?;
    Ok(value)
}

/// A parser's error without its text, which may quote the input.
pub(super) fn problem(error: &serde_json::Error) -> Problem {
    if error.is_data() {
        Problem::Ambiguous
    } else {
        Problem::NotJson { line: error.line(), column: error.column() }
    }
}

/// The same JSON without the whitespace between tokens. Keys, their order and digits stay as sent:
/// FHIR's decimals mean their trailing zeros, and a parsed number has lost them.
pub(super) fn compact(text: &str) -> Vec<u8> {
    let (mut in_string, mut escaped) = (false, false);
    text.bytes()
        .filter(|byte| {
            if in_string {
                in_string = escaped || *byte != b'"';
                escaped = !escaped && *byte == b'\\';
                return true;
            }
            in_string = *byte == b'"';
            !byte.is_ascii_whitespace()
        })
        .collect()
}

/// What stands at a dotted path of objects.
pub(super) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, key| value.get(key))
}

/// The elements of an array; none for anything else.
pub(super) fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Text at a dotted path.
pub(super) fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    at(value, path)?.as_str()
}

/// Reads a value with this many levels left.
struct Strict(usize);

impl Strict {
    fn below<E: serde::de::Error>(&self) -> Result<usize, E> {
        self.0.checked_sub(1).ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(Self(below))? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Self(below))?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("a key twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compaction_keeps_digits_keys_and_strings() {
        let text = "{ \"b\" : 1.10 ,\n\t\"a\":\"two  words \\\" }\\\\\" , \"c\" : [ 1 , -0.0 ] }";
        assert_eq!(compact(text), br#"{"b":1.10,"a":"two  words \" }\\","c":[1,-0.0]}"#);
        assert_eq!(parse(text), parse(core::str::from_utf8(&compact(text)).unwrap()));
    }

    #[test]
    fn ambiguous_and_deep_values_are_refused() {
        assert_eq!(parse(r#"{"a":{"b":1,"b":1}}"#), Err(Problem::Ambiguous));
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(parse(&nested(MAX_DEPTH + 1)), Err(Problem::Ambiguous));
        assert_eq!(parse(&"[".repeat(1 << 20)), Err(Problem::Ambiguous), "refused on the way down");
        assert_eq!(parse("{} x"), Err(Problem::NotJson { line: 1, column: 4 }));
    }
}
