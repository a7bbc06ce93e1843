package main

import (
	"encoding/binary"
	"strings"
)

// one is the file of a broken container.
func one(b []byte) map[string][]byte { return map[string][]byte{"model.safetensors": b} }

// w is an entry of two floats at the start of the data.
const w = `"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}`

// prefixed is a header length and what follows.
func prefixed(n uint64, rest string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, n), rest...)
}

// padded is a file whose data is aligned.
func padded(header string, data []byte) []byte {
	return file(header+strings.Repeat(" ", (8-len(header)%8)%8), data)
}

// containers are the vectors of the rules ST.
func containers() []vector {
	all := slicesOf(accepted(), prefixes(), headers(), entries(), layouts(), oddities())
	for i := range all {
		if all[i].input == "" {
			all[i].input = "model.safetensors"
		}
	}
	return all
}

func slicesOf(lists ...[]vector) (all []vector) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

func accepted() []vector {
	return []vector{
		{name: "container_minimal", comment: "an empty object is a file without tensors", rules: "ST001 ST002 ST003 ST004 ST005 ST006 ST035 ST033", files: one(file("{}", nil))},
		{name: "container_plain", comment: "two tensors, padded to eight bytes", rules: "ST007 ST008 ST009 ST010 ST011 ST012 ST013 ST015 ST016 ST017 ST018 ST019 ST020 ST022 ST024 ST025 ST026 ST027 ST029 ST030",
			files: one(st(pt, f32("a", 1, 1, 2, 2), f32("b", 1, 1, 3)))},
		{name: "container_scalar_and_empty", comment: "a shape without dimensions is one element, one with a zero is none, whatever the others are", rules: "ST013 ST014",
			files: one(padded(object(entry("s", "F32", "[]", "[0,4]"), entry("z", "F32", "[0,4294967296,65536]", "[4,4]")), zeros(4)))},
		{name: "container_half_bytes", comment: "two values of four bits fill a byte", rules: "ST021", files: one(file(object(entry("f", "F4", "[2]", "[0,1]")), zeros(1)))},
		{name: "container_booleans", comment: "BOOL elements 0 and 1", rules: "ST028", deep: true, files: one(st(pt, tensor{"b", "BOOL", []int{2}, []byte{0, 1}}))},
		{name: "container_escapes", comment: "a name with a surrogate pair in escapes; keys are compared after unescaping", rules: "ST032", files: one(padded(`{"\uD83D\uDE00":{"\u0064type":"F32","shape":[1],"data_offsets":[0,4]}}`, zeros(4)))},
		{name: "container_nested_64", comment: "an unknown field that reaches the depth of 64", rules: "ST023", warn: "ST011",
			files: one(padded(`{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":`+strings.Repeat("[", 62)+strings.Repeat("]", 62)+`}}`, zeros(8)))},
	}
}

func prefixes() []vector {
	return []vector{
		{name: "seven_bytes", expect: "reject", rules: "ST001", comment: "7 bytes, too few for a header length", files: one([]byte("\x02\x00\x00\x00\x00\x00\x00"))},
		{name: "zero_length", expect: "reject", rules: "ST035", comment: "a header length of 0", files: one(prefixed(0, "{}"))},
		{name: "above_limit", expect: "reject", rules: "ST002", comment: "a header length of 100,000,001", files: one(prefixed(100_000_001, "{}"))},
		{name: "beyond_file", expect: "reject", rules: "ST003", comment: "a header length of 3 with two bytes behind it", files: one(prefixed(3, "{}"))},
		{name: "folder", expect: "reject", rules: "ST033", comment: "a folder of the name of the weights", input: "adapter",
			files: map[string][]byte{"adapter/adapter_config.json": plain().bytes(), "adapter/adapter_model.safetensors/README": []byte("a folder\n")}},
		{name: "lfs_pointer", expect: "reject", rules: "ST024", comment: "a Git LFS pointer, which a clone without git-lfs leaves",
			files: one([]byte("version https://git-lfs.github.com/spec/v1\noid sha256:" + strings.Repeat("0123456789abcdef", 4) + "\nsize 12345\n"))},
	}
}

func headers() []vector {
	return []vector{
		{name: "latin1_name", expect: "reject", rules: "ST004", comment: "a name in Latin-1", files: one(file("{\"caf\xe9\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", zeros(8)))},
		{name: "nul_padding", expect: "reject", rules: "ST005", comment: "the header is padded with NUL", files: one(file("{"+w+"}\x00\x00", zeros(8)))},
		{name: "a_list", expect: "reject", rules: "ST006", comment: "the top level is a list", files: one(file("[1,2,3]", nil))},
		{name: "ST007_leading_space", warn: "ST007", comment: "a space before the brace", files: one(padded(" {"+w+"}", zeros(8)))},
		{name: "ST008_newline_padding", warn: "ST008", comment: "the header is padded with line ends", files: one(file("{"+w+"}"+strings.Repeat("\n", 8-(len(w)+2)%8), zeros(8)))},
		{name: "tensor_twice", expect: "reject", rules: "ST009", comment: "two entries of one name", files: one(file("{"+w+","+w+"}", zeros(8)))},
		{name: "escaped_twin", expect: "reject", rules: "ST009", comment: "two entries whose names are equal after unescaping", files: one(file("{"+w+`,"\u0077":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, zeros(8)))},
		{name: "metadata_number", expect: "reject", rules: "ST022", comment: "a metadata value that is a number", files: one(file(`{"__metadata__":{"step":1},`+w+"}", zeros(8)))},
		{name: "nested_65", expect: "reject", rules: "ST023", comment: "an unknown field that reaches the depth of 65",
			files: one(file(`{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":`+strings.Repeat("[", 63)+strings.Repeat("]", 63)+`}}`, zeros(8)))},
		{name: "half_a_pair", expect: "reject", rules: "ST032", comment: "an escape of half a surrogate pair", files: one(file(`{"\uD83D":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, zeros(8)))},
		{name: "metadata_null", expect: "any", comment: "__metadata__ is null, as MLX writes it when it has none: some readers take it", files: one(file(`{"__metadata__":null,`+w+"}", zeros(8)))},
	}
}

func entries() []vector {
	reject := func(rule, name, comment, dtype, shape, offsets string, n int) vector {
		return vector{name: name, expect: "reject", rules: rule, comment: comment, files: one(file(object(entry("w", dtype, shape, offsets)), zeros(n)))}
	}
	return []vector{
		{name: "no_shape", expect: "reject", rules: "ST010", comment: "an entry without a shape", files: one(file(`{"w":{"dtype":"F32","data_offsets":[0,8]}}`, zeros(8)))},
		{name: "ST011_unknown_field", warn: "ST011", comment: "an entry with a field more", files: one(padded(`{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"strides":[1]}}`, zeros(8)))},
		reject("ST012", "no_dtype", "a dtype that there is not", "FLOAT32", "[2]", "[0,8]", 8),
		reject("ST013", "fraction", "a dimension with a fraction", "F32", "[2.0]", "[0,8]", 8),
		reject("ST013", "negative", "a negative dimension", "F32", "[-2]", "[0,8]", 8),
		reject("ST014", "overflow", "dimensions whose product overflows to 8 bytes", "U8", "[4611686018427387906,4]", "[0,8]", 8),
		reject("ST014", "overflow_beside_zero", "dimensions whose product overflows, beside a zero", "U8", "[4294967296,4294967296,0]", "[0,0]", 0),
		reject("ST015", "backwards", "offsets that go backwards", "F32", "[0]", "[8,0]", 8),
		reject("ST015", "three_offsets", "three offsets", "F32", "[2]", "[0,8,8]", 8),
		reject("ST019", "size_and_shape", "eight bytes for a shape of twelve", "F32", "[3]", "[0,8]", 8),
		reject("ST021", "half_a_byte", "three values of four bits", "F4", "[3]", "[0,2]", 2),
	}
}

func layouts() []vector {
	two := func(a, b string) string { return object(entry("a", "F32", "[1]", a), entry("b", "F32", "[1]", b)) }
	return []vector{
		{name: "cut_short", expect: "reject", rules: "ST016", comment: "the last four bytes are missing", files: one(file("{"+w+"}", zeros(4)))},
		{name: "hole", expect: "reject", rules: "ST017", comment: "four bytes between two tensors that belong to none", files: one(file(two("[0,4]", "[8,12]"), zeros(12)))},
		{name: "overlap", expect: "reject", rules: "ST018", comment: "two tensors on the same bytes", files: one(file(two("[0,4]", "[0,4]"), zeros(4)))},
		{name: "byte_behind", expect: "reject", rules: "ST020", comment: "a line end behind the last tensor", files: one(append(file("{"+w+"}", zeros(8)), '\n'))},
		{name: "ST029_unaligned", warn: "ST029", comment: "tensors that begin at an odd byte", files: one(file("{"+w+"} "+strings.Repeat(" ", (8-(len(w)+3)%8)%8+1), zeros(8)))},
	}
}

func oddities() []vector {
	f := func(name string) string { return entry(name, "F32", "[1]", "[0,4]") }
	pad := func(h string) string { return h + strings.Repeat(" ", (8-len(h)%8)%8) }
	return []vector{
		{name: "ST025_escape_sequence", warn: "ST025", comment: "a name that clears a terminal", files: one(file(pad(object(f("\x1b[2J"))), zeros(4)))},
		{name: "ST025_path", warn: "ST025", comment: "a name that looks like a path", files: one(file(pad(object(f("../../etc/passwd"))), zeros(4)))},
		{name: "ST026_case", warn: "ST026", comment: "two names that differ in case only", files: one(st(pt, f32("Scale", 1, 1, 1), f32("scale", 1, 1, 1)))},
		{name: "ST027_huge_dimension", warn: "ST027", comment: "an empty tensor with a dimension of 2^48", files: one(file(pad(object(entry("w", "F32", "[0,281474976710656]", "[0,0]"))), nil))},
		{name: "ST028_boolean_two", warn: "ST028", deep: true, comment: "a BOOL element of 2", files: one(st(pt, tensor{"b", "BOOL", []int{2}, []byte{1, 2}}))},
		{name: "ST030_empty_name", warn: "ST030", comment: "a tensor without a name", files: one(file(pad(object(f(""))), zeros(4)))},
	}
}
