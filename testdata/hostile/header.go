package hostile

import (
	"encoding/binary"
	"fmt"
	"strings"
)

func length(n uint64, rest string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, n), rest...)
}

// prefixCases break the length of the header.
func prefixCases() []Case {
	return []Case{
		reject("ST001", "empty", nil),
		reject("ST001", "one_byte", []byte{1}),
		reject("ST001", "seven_bytes", make([]byte, 7)),
		reject("ST035", "eight_zeros", make([]byte, 8)),
		reject("ST035", "zero_length_then_object", length(0, `{}`)),
		reject("ST002", "cap_plus_one", length(100_000_001, `{}`)),
		reject("ST002", "all_ones", length(1<<64-1, `{}`)),
		reject("ST002", "sign_bit", length(1<<63, `{}`)),
		reject("ST002", "big_endian_length", append([]byte{0, 0, 0, 0, 0, 0, 0, 2}, "{}"...)),
		reject("ST002", "overflows_with_eight", length(1<<64-8, `{}`)),
		reject("ST003", "one_too_long", length(3, `{}`)),
		reject("ST003", "at_cap_in_small_file", length(100_000_000, `{}`)),
		reject("ST003", "length_without_header", length(2, ``)),
		reject("ST005", "one_too_short", length(1, `{}`)),
	}
}

// jsonCases break the header as a text.
func jsonCases() []Case {
	h := func(rule, name, header string) Case { return reject(rule, name, File(header, 8)) }
	a := one("a")
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	field := func(extra string) string {
		return Object(`"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":` + extra + `}`)
	}
	return []Case{
		accept("minimal", File(`{}`, 0)),
		accept("metadata_only", File(`{"__metadata__":{"format":"pt"}}`, 0)),
		accept("one_tensor", File(Object(a), 8)),
		accept("space_padded", File(Object(a)+"   ", 8)),
		accept("inner_white_space", File("{ \"a\" :\t{\"dtype\" : \"F32\",\n\"shape\":[ 2 ] ,\r\n\"data_offsets\":[ 0 , 8 ] } }", 8)),
		accept("fields_in_other_order", File(`{"a":{"data_offsets":[0,8],"shape":[2],"dtype":"F32"}}`, 8)),
		accept("escaped_field_names", File(`{"a":{"\u0064type":"F3\u0032","shape":[2],"data_offsets":[0,8]}}`, 8)),
		accept("surrogate_pair", File(Object(one(`\ud83d\ude00`)), 8)),
		accept("leading_white_space", File(" \n"+Object(a), 8), "ST007"),
		accept("newline_padding", File(Object(a)+"\n\n", 8), "ST008"),
		accept("tab_padding", File(Object(a)+"\t", 8), "ST008"),
		accept("depth_64", File(field(deep(62)), 8), "ST011"),
		accept("unknown_field", File(field(`{"y":[1,2.5e-3,true,null,"z"]}`), 8), "ST011"),
		h("ST004", "lone_continuation", Object(one("a\x80"))),
		h("ST004", "overlong_slash", Object(one("a\xC0\xAF"))),
		h("ST004", "surrogate_bytes", Object(one("a\xED\xA0\x80"))),
		h("ST004", "beyond_unicode", Object(one("a\xF4\x90\x80\x80"))),
		h("ST004", "truncated_sequence", Object(one("a\xE2\x82"))),
		h("ST004", "in_metadata", `{"__metadata__":{"k":"`+"\xFF"+`"},`+a+`}`),
		h("ST004", "in_padding", Object(a)+"\xFF"),
		h("ST005", "byte_order_mark", "\uFEFF"+Object(a)),
		h("ST005", "unclosed", `{"a":{"dtype":"F32"`),
		h("ST005", "unclosed_string", `{"a`),
		h("ST005", "unclosed_escape", `{"a\`),
		h("ST005", "unclosed_unicode_escape", `{"a\u00`),
		h("ST005", "trailing_comma", `{`+a+`,}`),
		h("ST005", "trailing_comma_in_shape", Object(Entry("a", "F32", "[2,]", "[0,8]"))),
		h("ST005", "leading_comma", `{,`+a+`}`),
		h("ST005", "missing_comma", `{`+a+` `+one("b")+`}`),
		h("ST005", "missing_colon", `{"a" {}}`),
		h("ST005", "missing_value", `{"a":}`),
		h("ST005", "key_without_quotes", `{a:1}`),
		h("ST005", "single_quotes", `{'a':1}`),
		h("ST005", "comment", `{/* x */`+a+`}`),
		h("ST005", "nul_padding", Object(a)+"\x00\x00"),
		h("ST005", "second_object", Object(a)+`{}`),
		h("ST005", "text_after_object", Object(a)+` x`),
		h("ST005", "raw_newline_in_name", Object(one("a\nb"))),
		h("ST005", "raw_nul_in_name", Object(one("a\x00b"))),
		h("ST005", "unknown_escape", Object(one(`a\x41`))),
		h("ST005", "bad_hex", Object(one(`a\u00G0`))),
		h("ST005", "number_nan", field("NaN")),
		h("ST005", "number_infinity", field("-Infinity")),
		h("ST005", "number_leading_zero", Object(Entry("a", "F32", "[02]", "[0,8]"))),
		h("ST005", "number_plus", Object(Entry("a", "F32", "[+2]", "[0,8]"))),
		h("ST005", "number_hex", field("0x10")),
		h("ST005", "number_dot", field("1.")),
		h("ST005", "number_exponent", field("1e")),
		h("ST005", "number_minus", field("-")),
		h("ST005", "literal_case", field("True")),
		h("ST005", "form_feed", "{\f"+a+"}"),
		h("ST005", "no_break_space", "{\u00A0"+a+"}"),
		h("ST005", "only_spaces", "    "),
		h("ST005", "zeros", string(make([]byte, 16))),
		h("ST006", "number", `7       `),
		h("ST006", "null", `null    `),
		h("ST006", "string", `"abcdef"`),
		h("ST009", "tensor_twice", Object(a, one("b"), a)),
		h("ST009", "long_name_twice", Object(one(strings.Repeat("x", 100_000)), one(strings.Repeat("x", 100_000)))),
		h("ST009", "tensor_twice_by_escape", Object(a, one(`\u0061`))),
		h("ST009", "metadata_twice", `{"__metadata__":{},`+a+`,"__metadata__":{}}`),
		h("ST009", "metadata_twice_by_escape", `{"__metadata__":{},`+a+`,"__metadata_\u005f":{}}`),
		h("ST009", "metadata_null_then_object", `{"__metadata__":null,`+a+`,"__metadata__":{}}`),
		h("ST009", "metadata_key_twice", `{"__metadata__":{"k":"1","k":"2"},`+a+`}`),
		h("ST009", "metadata_key_twice_by_escape", `{"__metadata__":{"k":"1","\u006b":"2"},`+a+`}`),
		h("ST009", "dtype_twice", `{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}`),
		h("ST009", "shape_twice", `{"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}}`),
		h("ST009", "offsets_twice", `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"data_offsets":[0,8]}}`),
		h("ST009", "unknown_field_twice", `{"a":{"dtype":"F32","x":1,"shape":[2],"x":1,"data_offsets":[0,8]}}`),
		h("ST009", "inside_unknown_field", field(`{"y":1,"y":2}`)),
		h("ST023", "depth_65", field(deep(63))),
		h("ST023", "deep_entry", `{"a":`+deep(100)+`}`),
		h("ST023", "deep_objects", `{"a":`+strings.Repeat(`{"a":`, 100)+`1`+strings.Repeat(`}`, 101)),
		h("ST023", "deep_unclosed", strings.Repeat(`[`, 100_000)),
		h("ST032", "high_alone", Object(one(`a\ud800`))),
		h("ST032", "low_alone", Object(one(`a\udc00`))),
		h("ST032", "high_twice", Object(one(`a\ud800\ud800`))),
		h("ST032", "swapped", Object(one(`a\ude00\ud83d`))),
		h("ST032", "high_then_letter", Object(one(`\ud800\u0041`))),
		h("ST032", "in_metadata", `{"__metadata__":{"k":"\ud800x"},`+a+`}`),
		h("ST022", "list", `{"__metadata__":[],`+a+`}`),
		h("ST022", "string", `{"__metadata__":"x",`+a+`}`),
		h("ST022", "value_number", `{"__metadata__":{"k":1},`+a+`}`),
		h("ST022", "value_null", `{"__metadata__":{"k":null},`+a+`}`),
		h("ST022", "value_object", `{"__metadata__":{"k":{"l":"m"}},`+a+`}`),
		h("ST022", "tensor_in_its_place", Object(one("__metadata__"))),
		accept("metadata_null", File(`{"__metadata__":null,`+a+`}`, 8)),
		accept("metadata_empty", File(`{"__metadata__":{},`+a+`}`, 8)),
		accept("metadata_last", File(`{`+a+`,"__metadata__":{"k":"v"}}`, 8)),
	}
}

// entryCases break one entry.
func entryCases() []Case {
	h := func(rule, name, value string) Case { return reject(rule, name, File(`{"a":`+value+`}`, 8)) }
	dtype := func(rule, name, value string) Case {
		return h(rule, name, `{"dtype":`+value+`,"shape":[2],"data_offsets":[0,8]}`)
	}
	shape := func(rule, name, value string) Case {
		return h(rule, name, `{"dtype":"F32","shape":`+value+`,"data_offsets":[0,8]}`)
	}
	offsets := func(rule, name, value string) Case {
		return h(rule, name, `{"dtype":"F32","shape":[2],"data_offsets":`+value+`}`)
	}
	product := func(rule, name, dtype, shape string) Case {
		return reject(rule, name, File(Object(Entry("a", dtype, shape, "[0,0]")), 0))
	}
	cases := []Case{
		h("ST010", "null", `null`),
		h("ST010", "list", `["F32",[2],[0,8]]`),
		h("ST010", "number", `1`),
		h("ST010", "empty", `{}`),
		h("ST010", "no_dtype", `{"shape":[2],"data_offsets":[0,8]}`),
		h("ST010", "no_shape", `{"dtype":"F32","data_offsets":[0,8]}`),
		h("ST010", "no_offsets", `{"dtype":"F32","shape":[2]}`),
		h("ST010", "field_in_capitals", `{"Dtype":"F32","shape":[2],"data_offsets":[0,8]}`),
		dtype("ST012", "lower_case", `"f32"`),
		dtype("ST012", "torch_name", `"float32"`),
		dtype("ST012", "empty", `""`),
		dtype("ST012", "with_space", `"F32 "`),
		dtype("ST012", "with_nul", `"F32\u0000"`),
		dtype("ST012", "number", `32`),
		dtype("ST012", "null", `null`),
		dtype("ST012", "map", `{"F32":null}`),
		dtype("ST012", "nested_name", `"F8_E4M3FN"`),
		shape("ST013", "null", `null`),
		shape("ST013", "number", `2`),
		shape("ST013", "string", `"2"`),
		shape("ST013", "string_inside", `["2"]`),
		shape("ST013", "negative", `[-2]`),
		shape("ST013", "minus_zero", `[-0]`),
		shape("ST013", "fraction", `[2.0]`),
		shape("ST013", "exponent", `[2e0]`),
		shape("ST013", "nested", `[[2]]`),
		shape("ST013", "null_inside", `[null]`),
		shape("ST013", "above_64_bits", `[18446744073709551616]`),
		offsets("ST015", "null", `null`),
		offsets("ST015", "empty", `[]`),
		offsets("ST015", "one", `[0]`),
		offsets("ST015", "three", `[0,8,8]`),
		offsets("ST015", "backwards", `[8,0]`),
		offsets("ST015", "negative", `[-8,0]`),
		offsets("ST015", "fraction", `[0,8.0]`),
		offsets("ST015", "string", `["0","8"]`),
		offsets("ST015", "object", `{"0":0,"1":8}`),
		offsets("ST015", "above_64_bits", `[0,18446744073709551624]`),
		shape("ST019", "too_few", `[1]`),
		shape("ST019", "too_many", `[3]`),
		shape("ST019", "empty_tensor_of_8_bytes", `[0]`),
		shape("ST019", "scalar_of_8_bytes", `[]`),
		offsets("ST019", "span_of_whole_range", `[0,18446744073709551615]`),
		product("ST014", "zero_last", "F32", "[9223372036854775808,2,0]"),
		product("ST014", "zero_first", "F32", "[0,9223372036854775808,2]"),
		product("ST014", "wraps_to_zero", "U8", "[4294967296,4294967296]"),
		product("ST014", "wraps_in_bits", "F64", "[288230376151711744,8]"),
		product("ST014", "many_small", "U8", "["+strings.TrimSuffix(strings.Repeat("2,", 62), ",")+"]"),
		reject("ST014", "wraps_to_16", File(Object(Entry("a", "U8", "[9223372036854775816,2]", "[0,16]")), 16)),
		product("ST021", "f4_one", "F4", "[1]"),
		reject("ST021", "f4_three", File(Object(Entry("a", "F4", "[3]", "[0,2]")), 2)),
		reject("ST021", "f6_two", File(Object(Entry("a", "F6_E2M3", "[2]", "[0,2]")), 2)),
		accept("f4_pairs", File(Object(Entry("a", "F4", "[3,2]", "[0,3]")), 3)),
		accept("f6_fours", File(Object(Entry("a", "F6_E3M2", "[4]", "[0,3]")), 3)),
		accept("scalar", File(Object(Entry("a", "F32", "[]", "[0,4]")), 4)),
		accept("empty_tensor", File(Object(Entry("a", "F32", "[0]", "[0,0]")), 0)),
		accept("empty_tensor_of_many_dimensions", File(Object(Entry("a", "F32", "[3,0,5]", "[0,0]")), 0)),
		accept("huge_dimension", File(Object(Entry("a", "U8", "[0,281474976710656]", "[0,0]")), 0), "ST027"),
		accept("dimensions_64", File(Object(Entry("a", "U8", "["+strings.Repeat("1,", 63)+"1]", "[0,1]")), 1)),
		{Name: "dimensions_65", Want: "unsupported", Bytes: File(Object(Entry("a", "U8", "["+strings.Repeat("1,", 64)+"1]", "[0,1]")), 1)},
	}
	for _, d := range []struct {
		name string
		bits int
	}{
		{"BOOL", 8}, {"F4", 4}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8}, {"I8", 8}, {"F8_E5M2", 8}, {"F8_E4M3", 8},
		{"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16},
		{"I32", 32}, {"U32", 32}, {"F32", 32}, {"C64", 64}, {"F64", 64}, {"I64", 64}, {"U64", 64},
	} {
		n := 4 * d.bits / 8
		cases = append(cases, accept("dtype_"+strings.ToLower(d.name), File(Object(Entry("a", d.name, "[4]", fmt.Sprintf("[0,%d]", n))), n)))
	}
	return cases
}

// layoutCases break the order of the data.
func layoutCases() []Case {
	e := func(name, shape, offsets string) string { return Entry(name, "U8", shape, offsets) }
	f := func(n int, entries ...string) []byte { return File(Object(entries...), n) }
	var amplify []string
	for i := range 1000 {
		amplify = append(amplify, e(fmt.Sprint("t", i), "[1000]", "[0,1000]"))
	}
	return []Case{
		accept("two_in_order", f(8, e("a", "[4]", "[0,4]"), e("b", "[4]", "[4,8]"))),
		accept("two_out_of_order", f(8, e("b", "[4]", "[4,8]"), e("a", "[4]", "[0,4]"))),
		accept("empty_at_start", f(4, e("z", "[0]", "[0,0]"), e("a", "[4]", "[0,4]"))),
		accept("empty_at_start_listed_last", f(4, e("a", "[4]", "[0,4]"), e("z", "[0]", "[0,0]"))),
		accept("empty_between", f(8, e("a", "[4]", "[0,4]"), e("z", "[0]", "[4,4]"), e("b", "[4]", "[4,8]"))),
		accept("empty_at_end", f(4, e("a", "[4]", "[0,4]"), e("z", "[0]", "[4,4]"))),
		reject("ST016", "no_data", f(0, e("a", "[4]", "[0,4]"))),
		reject("ST016", "one_byte_short", f(3, e("a", "[4]", "[0,4]"))),
		reject("ST016", "second_tensor_missing", f(4, e("a", "[4]", "[0,4]"), e("b", "[4]", "[4,8]"))),
		reject("ST016", "terabyte_declared", f(8, e("a", "[1099511627776]", "[0,1099511627776]"))),
		reject("ST017", "at_start", f(8, e("a", "[4]", "[4,8]"))),
		reject("ST017", "between", f(9, e("a", "[4]", "[0,4]"), e("b", "[4]", "[5,9]"))),
		reject("ST017", "empty_tensor_beyond", f(4, e("a", "[4]", "[0,4]"), e("z", "[0]", "[9,9]"))),
		reject("ST017", "far_away", f(8, e("a", "[8]", "[9223372036854775799,9223372036854775807]"))),
		reject("ST016", "beyond_int64", f(8, e("a", "[8]", "[18446744073709551600,18446744073709551608]"))),
		reject("ST018", "same_range", f(4, e("a", "[4]", "[0,4]"), e("b", "[4]", "[0,4]"))),
		reject("ST018", "one_byte", f(7, e("a", "[4]", "[0,4]"), e("b", "[4]", "[3,7]"))),
		reject("ST018", "inside", f(8, e("a", "[8]", "[0,8]"), e("b", "[4]", "[2,6]"))),
		reject("ST018", "empty_inside", f(8, e("a", "[8]", "[0,8]"), e("z", "[0]", "[4,4]"))),
		reject("ST018", "amplification", f(1000, amplify...)),
		reject("ST020", "one_byte", f(5, e("a", "[4]", "[0,4]"))),
		reject("ST020", "data_without_tensors", File(`{}`, 1)),
		reject("ST020", "newline", append(f(4, e("a", "[4]", "[0,4]")), '\n')),
		reject("ST020", "zip_behind", append(f(4, e("a", "[4]", "[0,4]")), "PK\x03\x04 and more"...)),
		accept("unaligned", File(Object(Entry("a", "F64", "[1]", "[0,8]"))+"   ", 8), "ST029"),
		accept("unaligned_second", File(Object(e("a", "[1]", "[0,1]"), Entry("b", "F16", "[1]", "[1,3]")), 3), "ST029"),
	}
}

// nameCases have names that programs trip over.
func nameCases() []Case {
	n := func(name, tensor string, warn ...string) Case {
		return accept("name_"+name, File(Object(one(tensor)), 8), warn...)
	}
	two := func(name, a, b string, warn ...string) Case {
		return accept("names_"+name, File(Object(Entry(a, "U8", "[4]", "[0,4]"), Entry(b, "U8", "[4]", "[4,8]")), 8), warn...)
	}
	return []Case{
		n("empty", ``, "ST030"),
		n("escape_sequence", `\u001b[31mred`, "ST025"),
		n("newline", `a\nb`, "ST025"),
		n("nul", `a\u0000b`, "ST025"),
		n("delete", "a\x7F", "ST025"),
		n("right_to_left", `a\u202eb`, "ST025"),
		n("zero_width", "a\u200Bb", "ST025"),
		n("byte_order_mark", "\uFEFFa", "ST025"),
		n("absolute_path", `/etc/passwd`, "ST025"),
		n("parent_path", `a/../../b`, "ST025"),
		n("backslash", `a\\b`, "ST025"),
		n("drive", `C:/a`, "ST025"),
		n("slash", `bert/encoder/layer`),
		n("dots", `a..b`),
		n("long", strings.Repeat("x", 100_000)),
		n("metadata_lookalike", `__Metadata__`),
		n("emoji", "a😀"),
		n("github_command", `::error::x`),
		two("case", "Weight", "weight", "ST026"),
		two("normal_form", "caf\u00E9", "cafe\u0301", "ST026"),
		two("sharp_s", "stra\u017Fe", "strase", "ST026"),
		two("differ", "weight", "weights"),
		accept("metadata_controls", File(`{"__metadata__":{"k":"a\u001b[2Jb"}}`, 0), "ST025"),
		accept("metadata_lines", File(`{"__metadata__":{"k":"a\nb\tc"}}`, 0)),
		accept("metadata_key_controls", File(`{"__metadata__":{"k\u0007":"a"}}`, 0), "ST025"),
	}
}
