//! RFC 8259 by its grammar, production by production: what has to be taken is taken, what has to be refused is refused, and what the RFC leaves open is
//! settled here.

use super::json::{Checked, JsonChecker, NotAnEvent, SecondLook};

struct Looks;

impl SecondLook for Looks {
    fn spend(&mut self, _: usize) -> bool {
        true
    }
}

fn check(text: &[u8]) -> Result<Checked, NotAnEvent> {
    JsonChecker::default().check_object(text, &mut Looks)
}

/// Checks a value in each place that one may have, also far from the ends of the text: SIMD looks at 32 or 64 bytes at once.
fn check_value(value: &[u8]) -> Result<Checked, NotAnEvent> {
    let padding = format!("\"{}\"", "p".repeat(70));
    let texts = [
        [b"{\"v\":", value, b"}"].concat(),
        [b"{\"v\":[", value, b"]}"].concat(),
        [b"{\"v\": [0 , ", value, b" , 1 ] , \"w\" : {}}\n"].concat(),
        [b"{\"p\":", padding.as_bytes(), b",\"v\":", value, b",\"q\":", padding.as_bytes(), b"}"].concat(),
        [b"{\"p\":[", padding.as_bytes(), b",", value, b",", padding.as_bytes(), b"]}"].concat(),
    ];
    let first = check(&texts[0]);
    for text in &texts[1..] {
        assert_eq!(check(text), first, "{} and {}", shown(&texts[0]), shown(text));
    }
    first
}

fn shown(text: &[u8]) -> String {
    text[..text.len().min(300)].escape_ascii().to_string()
}

/// All texts come to the same.
fn all_are<T: AsRef<[u8]>>(
    what: Result<Checked, NotAnEvent>,
    check: fn(&[u8]) -> Result<Checked, NotAnEvent>,
    texts: impl IntoIterator<Item = T>,
) {
    for text in texts {
        assert_eq!(check(text.as_ref()), what, "{}", shown(text.as_ref()));
    }
}

const STRICT: Result<Checked, NotAnEvent> = Ok(Checked::Strict);
const LENIENT: Result<Checked, NotAnEvent> = Ok(Checked::Lenient);
const INVALID: Result<Checked, NotAnEvent> = Err(NotAnEvent::Invalid);
const NOT_AN_OBJECT: Result<Checked, NotAnEvent> = Err(NotAnEvent::NotAnObject);

#[test]
fn rfc8259_2_six_characters_make_the_structure_and_four_are_white_space() {
    all_are(
        STRICT,
        check,
        [
            "{}",
            " \t\n\r{ \t\n\r} \t\n\r",
            "{\"a\" \t\n\r: \t\n\r1 \t\n\r, \t\n\r\"b\" \t\n\r: \t\n\r[ \t\n\r] \t\n\r}",
            "{\"a\":[1\n,2\r,\t3 ]}",
        ],
    );
    let others =
        ["\u{b}", "\u{c}", "\u{8}", "\0", "\u{85}", "\u{a0}", "\u{2028}", "\u{2060}", "\u{3000}", "\u{feff}"];
    for other in others {
        all_are(
            INVALID,
            check,
            [
                format!("{other}{{}}"),
                format!("{{}}{other}"),
                format!("{{{other}}}"),
                format!("{{\"a\"{other}:1}}"),
                format!("{{\"a\":{other}1}}"),
                format!("{{\"a\":1{other}}}"),
                format!("{{\"a\":[1{other},2]}}"),
                format!("{{\"a\":[1,{other}2]}}"),
                format!("{{\"a\":[{other}]}}"),
            ],
        );
    }
}

#[test]
fn rfc8259_2_a_text_is_one_value_and_nothing_behind_it() {
    all_are(
        INVALID,
        check,
        r#"
            { } [ ] , : " {] [} {}} {{} {}{} {}, ,{} {}[] {}1 {}x {}"" {}null {}# {}//x {}/**/ /**/{} {"a":1}} {"a":1}] {"a":[1} {"a":[1}]
            {"a":{"b":1]} ({}) <{}> \{} {\} `{}` '{}' {}; = a * {"a":1}{"b":2}
        "#
        .split_ascii_whitespace(),
    );
    all_are(
        INVALID,
        check,
        [
            "{} {}",
            "//x\n{}",
            "#x\n{}",
            "{}\0",
            "\0{}",
            ")]}',\n{}",
            "\u{e9}",
            "{\"a\":1}\n{\"b\":2}",
            "\u{1e}{}",
        ],
    );
    // A text of one value that is no object, and one of none.
    all_are(
        NOT_AN_OBJECT,
        check,
        ["[]", " [{}] ", "0", "-1.5e+3", "\"\"", "\"{}\"", "true", "false", "null", " null\n"],
    );
    all_are(Err(NotAnEvent::Empty), check, ["", " ", "\n", "\t\r\n "]);
}

#[test]
fn rfc8259_2_a_text_that_was_cut_short_is_none() {
    let whole = r#"{"a":{"b":[true,false,null,-1.5e+10,"\u00e9\ud83d\ude00\n",{},[]]},"c":"é"}"#;
    assert_eq!(check(whole.as_bytes()), STRICT);
    for end in 1..whole.len() {
        assert_eq!(check(&whole.as_bytes()[..end]), INVALID, "{}", shown(&whole.as_bytes()[..end]));
    }
    for start in 1..whole.len() {
        let cut = check(&whole.as_bytes()[start..]);
        assert!(cut == INVALID, "{cut:?}: {}", shown(&whole.as_bytes()[start..]));
    }
}

#[test]
fn rfc8259_3_there_are_three_literal_names() {
    all_are(STRICT, check_value, ["true", "false", "null"]);
    all_are(
        INVALID,
        check_value,
        r#"
            True TRUE tRue False Null NULL t tr tru f fals n nul truex true1 truefalse nulll true"" true[] null{} false-1 NaN nan -NaN
            Infinity -Infinity +Infinity inf undefined None yes on a \u0074rue * @ $ _ / \ <null> & !true ~ % b"x"
        "#
        .split_ascii_whitespace(),
    );
    all_are(INVALID, check_value, ["\u{e9}", "fal\0se", "tr ue", "nu\nll", "new Date()"]);
}

#[test]
fn rfc8259_4_objects() {
    all_are(
        STRICT,
        check,
        [
            r#"{"a":1}"#,
            r#"{"":0}"#,
            r#"{"":""}"#,
            r#"{"a":1,"b":2}"#,
            r#"{"a\u0000b":1}"#,
            r#"{"\"":1}"#,
            r#"{"a":{"a":{"a":{}}}}"#,
            r#"{"a":[],"b":{},"c":"","d":0}"#,
            r#"{"é":"日本","😀":"𝄞"}"#,
            // Names "SHOULD be unique".
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"__proto__":{}}"#,
        ],
    );
    all_are(
        INVALID,
        check,
        r#"
            {"a"} {"a":} {"a":,} {:1} {:} {,} {1} {null} {[]} {{}} {"a":1,} {,"a":1} {"a":1,,"b":2} {"a":1,,} {"a":1;"b":2} {"a":1:"b":2}
            {"a","b"} {"a"::1} {"a":1:2} {"a"=1} {"a"=>1} {a:1} {'a':1} {a:'b'} {1:1} {1.5:1} {null:1} {true:1} {[]:1} {{}:1} {"a":"b",c}
            {"a":"b",c:"d"} {"a":1,"b"} {"a":1,"b":} {"a":b} {"\x":1} {"\u12":1} {"a":1/**/} {"a":/**/1} {/**/"a":1} {"a":1,//x {"a":1,...}
            {"a":(1)} {"a":"b"}/ {"a""b":1} {"a":1"b":2} {"a":"b"c} {\"a\":1} {"a":"b} {a":"b"} {"a:"b"}
        "#
        .split_ascii_whitespace(),
    );
    all_are(
        INVALID,
        check,
        [
            r#"{"a":1 "b":2}"#,
            r#"{"a" "b"}"#,
            r#"{"a":"b" "c"}"#,
            r#"{"a" 1}"#,
            r#"{"a":1 2}"#,
            "{\"a\n\":1}",
            "{\"a\0\":1}",
            "{\"a\":1#x\n}",
            "{\u{201c}a\u{201d}:1}",
        ],
    );
}

#[test]
fn rfc8259_5_arrays() {
    all_are(
        STRICT,
        check_value,
        [
            "[]",
            "[ ]",
            "[[]]",
            "[[],[]]",
            "[1]",
            "[null]",
            "[1,null,\"x\",true,{},[2]]",
            "[1,1]",
            "[\"\"]",
            "[\n]",
            "[[[[[[[[]]]]]]]]",
        ],
    );
    all_are(
        INVALID,
        check_value,
        [
            "[,]",
            "[1,]",
            "[,1]",
            "[1,,2]",
            "[1,,]",
            "[\"\",]",
            "[1 2]",
            "[1:2]",
            "[1;2]",
            "[1",
            "1]",
            "[[]",
            "[]]",
            "[1]]",
            "[[1]",
            "[\"a\"",
            "[\"a\",",
            "[1,\n1\n,1",
            "[\"a\":1]",
            "[a]",
            "['a']",
            "[1}",
            "{1]",
            "[*]",
            "[1,*]",
            "[\"\": 1]",
            "[[] []]",
            "[{}{}]",
            "[][]",
            "[1,2,]",
            "[ , ]",
            "[1]x",
            "x[1]",
            "[...]",
            "[1..2]",
            "[\"x\"\"y\"]",
            "[1/**/]",
            "[1//\n]",
            "[;]",
            "[\"a\"x]",
            "[truefalse]",
            "[true false]",
        ],
    );
}

#[test]
fn rfc8259_6_numbers() {
    all_are(
        STRICT,
        check_value,
        r"
            0 -0 1 -1 10 123 -123 0.0 -0.0 0.1 1.5 1.0000 123.456789 0e0 0e1 0E1 0e+1 0e-1 1e5 1E5 1e+5 1e-5 1E+005 1.5e5 -1.5E-5 1e00 1.0e00
            123e45 123.456e78 1e-400 1e22 1e308 -1e308 1.7976931348623157e308 5e-324 2.2250738585072014e-308 9007199254740991 9007199254740993
            2147483648 9223372036854775807 -9223372036854775808 9223372036854775808 18446744073709551615
            0.000000000000000000000000000000000000000000000000000000000000000000000000000000001
            0.3333333333333333333333333333333333333333333333333333
        "
        .split_ascii_whitespace(),
    );
    all_are(
        INVALID,
        check_value,
        r#"
            +1 ++1 - --1 -+1 -a -"1" 01 -01 00 -00 012 01.5 00e1 .5 -.5 +.5 . -. 1. -1. 0. 1.e5 0.e1 1.-5 1.+5 1..5 1.5.5 1.5. e5 E 1e 1E 1e+
            1e- 0e 0e+ 1.5e 1.5e+ 1e++5 1e+-5 1e5.5 1e5e5 1eE5 1_000 1'000 0x1 0x 0X1F 0b1 0o7 1f 1.5f 1d 1n 1L 1a 0a 1e5a 1.5a 1x -1x 1- 1-1
            1+1 1/2 1% $1 1,5e -Infinity -foo -1foo 0.1.2 1ea 0e- 0E+ -2. 2.e3 2.e+3 2.e-3 -012 1.8011670033376514H-308 1.2a-3 0.3e 0.3e+ 9.e+
            -1.0.
        "#
        .split_ascii_whitespace(),
    );
    all_are(
        INVALID,
        check_value,
        [
            "- 1",
            "1e 5",
            "1 e5",
            "1 .5",
            "1. 5",
            "1 2",
            "1 000",
            "1\0",
            "1\u{660}",
            "\u{661}",
            "\u{ff11}",
            "-\u{ff11}",
            "1e\u{661}",
        ],
    );
    // Section 6 lets a reader "set limits on the range and precision": ours takes all, and marks what others may not.
    all_are(
        LENIENT,
        check_value,
        [
            "1e309",
            "-1e309",
            "1e999",
            "0.4e00669999999999999999999999999999999999999999999999999999999999999999969999999006",
            "123123e100000",
            "-123123e100000",
        ],
    );
    // A double holds these, if not to the last digit.
    let long =
        ["9".repeat(300), format!("0.{}", "1".repeat(2000)), "-123123123123123123123123123123".to_owned()];
    for number in long {
        assert!(check_value(number.as_bytes()).is_ok(), "{number}");
    }
}

#[test]
fn rfc8259_7_strings() {
    all_are(
        STRICT,
        check_value,
        [
            r#""""#,
            r#"" ""#,
            r#""a""#,
            r#""\"""#,
            r#""\\""#,
            r#""\/""#,
            r#""/""#,
            r#""\b\f\n\r\t""#,
            r#""\\\"\\""#,
            r#""\\n""#,
            r#""\\u0061""#,
            r#""\u0000""#,
            r#""\u0022""#,
            r#""\u005C""#,
            r#""\u00e9""#,
            r#""\u00E9""#,
            r#""\uabcd\uABCD\uaBcD""#,
            r#""\u2028\u2029""#,
            r#""\uFFFE\uFFFF\uFDD0""#,
            r#""\uD83D\uDE00""#,
            r#""\ud834\udd1e""#,
            r#""\ud83f\udffe""#,
            r#""\udbff\udfff""#,
            r#""\u200B\u2064""#,
            r#""\ud7ff\ue000""#,
            r#""{}[],:""#,
            r#""//x""#,
            r#""a/*b*/c""#,
            r#""null""#,
            "\"\u{7f}\"",
            "\"\u{80}\u{9f}\u{a0}\"",
            "\"\u{2028}\u{2029}\"",
            "\"\u{e9}\u{20ac}\u{1f600}\"",
            "\"\u{fffe}\u{ffff}\u{fdd0}\u{1fffe}\u{10ffff}\"",
            "\"\u{feff}\"",
            "\"\u{e000}\u{d7ff}\"",
            r#"" \u0012\u001f ""#,
            r#""%00&amp;'`""#,
            r#""\\ud800""#,
        ],
    );
    all_are(
        INVALID,
        check_value,
        r#"
            " "a a" """ "a"b" "a""b" "\" "\ "\\\" 'a' ' `a` "a' 'a" "a"+"b" "a"x "\a" "\v" "\0" "\x00" "\x" "\e" "\'" "\#" "\1" "\U0061" "\B"
            "\N" "\u" "\u0" "\u00" "\u006" "\u006g" "\u+061" "\u-061" "\u0x61" "\u{61}" "\uqqqq" "\u00A" "\ud83d\u" "\ud83d\u1" "\ud83d\u1x"
            "\ud83d\x" "\ud83d\" "\uD800\uD800\x" "\uD834\uDd" \u0022a" \"a" \n \u0020"a" "a\
        "#
        .split_ascii_whitespace(),
    );
    all_are(
        INVALID,
        check_value,
        [
            "\u{201c}a\u{201d}",
            "\"a\" \"b\"",
            r#""\ ""#,
            r#""\u 061""#,
            "\"\\\u{e9}\"",
            "\"\\\u{1f600}\"",
            "\"\\\n\"",
            "\"\\\0\"",
            "\"\\u\u{ff11}061\"",
        ],
    );
}

#[test]
fn rfc8259_7_control_characters_are_escaped_in_strings() {
    for control in 0..0x20u8 {
        for text in
            [&[b'"', control, b'"'][..], &[b'"', b'a', control, b'b', b'"'], &[b'"', b'\\', control, b'"']]
        {
            assert_eq!(check_value(text), INVALID, "{}", shown(text));
        }
        let long = [&[b'"'][..], &[b'x'; 100], &[control], &[b'x'; 100], b"\""].concat();
        assert_eq!(check_value(&long), INVALID, "{}", shown(&long));
        let escaped = format!("\"\\u{control:04x}\"");
        assert_eq!(check_value(escaped.as_bytes()), STRICT, "{escaped}");
    }
}

#[test]
fn rfc8259_7_an_escape_is_one_of_nine() {
    for byte in 0..=0xffu8 {
        let text = [b'"', b'\\', byte, b'"'];
        let expected = if b"\"\\/bfnrt".contains(&byte) { STRICT } else { INVALID };
        assert_eq!(check_value(&text), expected, "{}", shown(&text));
    }
}

#[test]
fn rfc8259_8_1_a_text_is_utf8_without_a_byte_order_mark() {
    let texts: [&[u8]; 8] = [
        b"\xef\xbb\xbf{}",
        b"\xef\xbb{}",
        b"\xff\xfe{\0}\0",
        b"\xfe\xff\0{\0}",
        b"{\0}\0",
        b"\0{\0}",
        b"{\"\xe9\":1}",
        b"{\"a\":\xc3\xa9}",
    ];
    all_are(INVALID, check, texts);
    let strings: [&[u8]; 24] = [
        b"\"\x80\"",
        b"\"\xbf\"",
        b"\"\xc3\"",
        b"\"\xc3a\"",
        b"\"\xe2\x82\"",
        b"\"\xe2\x82a\"",
        b"\"\xe2a\xac\"",
        b"\"\xf0\x9f\x98\"",
        b"\"\xf0\x9f\x98a\"",
        b"\"a\xe9\"",
        b"\"\xff\"",
        b"\"\xfe\"",
        b"\"\xf8\x88\x80\x80\x80\"",
        b"\"\xfc\x84\x80\x80\x80\x80\"",
        // Longer than they need to be.
        b"\"\xc0\x80\"",
        b"\"\xc0\xaf\"",
        b"\"\xc1\xbf\"",
        b"\"\xe0\x80\xaf\"",
        b"\"\xe0\x9f\xbf\"",
        b"\"\xf0\x80\x80\xaf\"",
        b"\"\xf0\x8f\xbf\xbf\"",
        // Surrogates, and beyond Unicode.
        b"\"\xed\xa0\x80\"",
        b"\"\xed\xbf\xbf\"",
        b"\"\xf4\x90\x80\x80\"",
    ];
    all_are(INVALID, check_value, strings);
}

#[test]
fn rfc8259_8_2_surrogates_that_are_no_pair_are_legal_and_marked() {
    all_are(
        LENIENT,
        check_value,
        r#"
            "\ud800" "\udbff" "\udc00" "\udfff" "\ud800\ud800" "\udc00\ud800" "\udc00\udc00" "\ud800a" "\ud800abc\udc00" "\ud800\n" "\ud800\\"
            "\ud800\u0061" "\ud800\ud83d\ude00" "\ud83d\ude00\ude00" "\uD834\\uDD1E" "\udead" "\ud83d\"" "x\ud800\/" "\uDADA" "\ud888\u1234"
        "#
        .split_ascii_whitespace(),
    );
    all_are(LENIENT, check_value, [r#""\ud800 \udc00""#]);
    assert_eq!(check(br#"{"\ud800":1}"#), LENIENT);
    assert_eq!(check(br#"{"a":1,"\udc00b":[{}]}"#), LENIENT);
}

#[test]
fn rfc8259_9_a_reader_may_bound_the_depth() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"\":", "}]")] {
        let levels = open.matches(['[', '{']).count();
        let nested = |depth: usize| {
            format!("{{\"v\":{}1{}}}", open.repeat(depth / levels), close.repeat(depth / levels))
        };
        assert_eq!(check(nested(50).as_bytes()), STRICT, "{open}");
        assert_eq!(check(nested(500).as_bytes()), LENIENT, "{open}");
        assert_eq!(check(nested(100_000).as_bytes()), INVALID, "{open}");
        assert_eq!(check(open.repeat(100_000).as_bytes()), INVALID, "{open}");
        assert_eq!(check(format!("{{\"v\":{}", open.repeat(100_000)).as_bytes()), INVALID, "{open}");
        assert_eq!(check(close.repeat(100_000).as_bytes()), INVALID, "{open}");
    }
}

#[test]
fn rfc8259_9_length_is_bounded_by_the_body_alone() {
    let names: Vec<String> = (0..10_000).map(|n| format!("\"{n}\":{n}")).collect();
    assert_eq!(check(format!("{{{}}}", names.join(",")).as_bytes()), STRICT);
    assert_eq!(check_value(format!("\"{}\"", "x".repeat(1 << 20)).as_bytes()), STRICT);
    assert_eq!(check_value(format!("\"{}\"", r"\u00e9".repeat(1 << 16)).as_bytes()), STRICT);
    assert_eq!(check_value(format!("[{}0]", "0,".repeat(1 << 18)).as_bytes()), STRICT);
    assert_eq!(check_value(format!("[{}0]", " ".repeat(1 << 18)).as_bytes()), STRICT);
}

/// A string's end, an escape or a broken character at each place of SIMD's blocks.
#[test]
fn rfc8259_the_verdict_does_not_depend_on_where_in_a_block_a_byte_is() {
    for shift in 0..130 {
        let padding = " ".repeat(shift);
        let filler = "x".repeat(shift);
        for (inner, expected) in [
            (r#"\""#, STRICT),
            (r"\\", STRICT),
            (r"\ud83d\ude00", STRICT),
            ("\u{1f600}", STRICT),
            (r"\ud83d", LENIENT),
            (r"\x", INVALID),
            (r"\u12", INVALID),
            ("\n", INVALID),
            ("\0", INVALID),
            ("\"", INVALID),
            ("\\", INVALID),
        ] {
            for text in [
                format!("{padding}{{\"a\":\"{inner}\"}}"),
                format!("{{\"a\":\"{filler}{inner}\"}}"),
                format!("{{\"{filler}{inner}\":1}}"),
            ] {
                assert_eq!(check(text.as_bytes()), expected, "{text:?}");
            }
        }
        for (bytes, expected) in [
            (&b"\xc3\xa9"[..], STRICT),
            (b"\xf0\x9f\x98\x80", STRICT),
            (b"\xc3", INVALID),
            (b"\xa9", INVALID),
            (b"\xed\xa0\x80", INVALID),
            (b"\xf4\x90\x80\x80", INVALID),
        ] {
            let text = [b"{\"a\":\"", filler.as_bytes(), bytes, b"\"}"].concat();
            assert_eq!(check(&text), expected, "{}", shown(&text));
        }
    }
}
