package tokenizer

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loratool/loratool/format/rule"
)

const stories = "../../../testdata/stories260k/base/tokenizer.json"

// small is a file with one part replaced.
func small(member, replacement string) string {
	members := map[string]string{
		"added_tokens":   `[{"id": 7, "content": "<s>", "special": true}]`,
		"normalizer":     `null`,
		"pre_tokenizer":  `null`,
		"post_processor": `null`,
		"decoder":        `{"type": "Fuse"}`,
		"model":          `{"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "abab": 3, " ": 4, "▁": 5, "é": 6}, "merges": ["a b", ["ab", "ab"]]}`,
	}
	members[member] = replacement
	var b strings.Builder
	for _, name := range []string{"added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model"} {
		if members[name] != "" {
			b.WriteString(`, "` + name + `": ` + members[name])
		}
	}
	return "{" + b.String()[2:] + "}"
}

// Every part of the format by itself; the library agrees in
// interop/check_tokenizer.py.
func TestParts(t *testing.T) {
	for _, c := range []struct {
		name, member, part, text string
		want                     []int32
	}{
		{"merges in order", "", "", "ababab", []int32{3, 2}},
		{"overlap", "", "", "aababa", []int32{0, 3, 0}},
		{"unknown characters are dropped", "", "", "axb", []int32{2}},
		{"added token", "", "", "a<s>b", []int32{0, 7, 1}},
		{"NFC", "normalizer", `{"type": "NFC"}`, "e\u0301", []int32{6}},
		{"Lowercase", "normalizer", `{"type": "Lowercase"}`, "AB", []int32{2}},
		{"Prepend", "normalizer", `{"type": "Prepend", "prepend": "▁"}`, "a<s>a", []int32{5, 0, 7, 5, 0}},
		{"Replace", "normalizer", `{"type": "Replace", "pattern": {"Regex": "[0-9]+"}, "content": "a"}`, "12b3", []int32{2, 0}},
		{"Metaspace first", "pre_tokenizer", `{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"}`, "a a<s>a", []int32{5, 0, 5, 0, 7, 0}},
		{"Digits", "pre_tokenizer", `{"type": "Digits", "individual_digits": true}`, "a1b", []int32{0, 1}},
		{"Split", "pre_tokenizer", `{"type": "Split", "pattern": {"String": "b"}, "behavior": "Isolated"}`, "abab", []int32{0, 1, 0, 1}},
		{"Split removed", "pre_tokenizer", `{"type": "Split", "pattern": {"String": "b"}, "behavior": "Removed", "invert": true}`, "abba", []int32{1, 1}},
		{"template", "post_processor", `{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
			"special_tokens": {"<s>": {"ids": [7]}}}`, "a", []int32{7, 0}},
		{"lstrip", "added_tokens", `[{"id": 7, "content": "<s>", "lstrip": true, "rstrip": true}]`, "a <s> b", []int32{0, 7, 1}},
		{"white space taken along is a token", "added_tokens", `[{"id": 7, "content": "\n", "rstrip": true}]`, "\n\n a", []int32{7, 7, 0}},
		{"and on both sides", "added_tokens", `[{"id": 7, "content": "x", "lstrip": true, "rstrip": true}, {"id": 8, "content": "  "}]`, "  x  b", []int32{8, 7, 8, 1}},
		{"nothing is left of a token", "added_tokens", `[{"id": 7, "content": "x", "rstrip": true}, {"id": 4, "content": " ", "lstrip": true, "rstrip": true}]`, "x  b", []int32{7, 1}},
		{"words", "pre_tokenizer", `{"type": "Split", "pattern": {"Regex": "\\w+"}, "behavior": "Removed"}`, "a½bⓐa aⅧb²é", []int32{4}},
		{"no words", "pre_tokenizer", `{"type": "Split", "pattern": {"Regex": "\\W"}, "behavior": "Removed"}`, "a½bⓐa aⅧb²é", []int32{2, 0, 2, 6}},
		{"single word", "added_tokens", `[{"id": 7, "content": "xy", "single_word": true}]`, "xy axy", []int32{7, 4, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok, err := Read([]byte(small(c.member, c.part)))
			if err != nil {
				t.Fatal(err)
			}
			if got := tok.Encode(c.text, true); !slices.Equal(got, c.want) {
				t.Errorf("Encode(%q) = %v, want %v", c.text, got, c.want)
			}
		})
	}
}

func TestDecode(t *testing.T) {
	tok, err := Open(stories)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "a", "  two  spaces ", "snow ☃ and \x00", "line\nline\r\n"} {
		if got := tok.Decode(tok.Encode(text, false), false); got != text {
			t.Errorf("%q comes back as %q", text, got)
		}
	}
	if got, want := tok.Decode([]int32{1, 3 + 0xE2, 3 + 0x98, 403, 9999, -1, 2}, true), "\uFFFD\uFFFD Once"; got != want {
		t.Errorf("decoded %q, want %q", got, want)
	}
	if got, want := validUTF8("a\xe2\x98b\xff\xf0\x9f\x98\x80\xed\xa0\x80"), "a\uFFFDb\uFFFD😀\uFFFD\uFFFD\uFFFD"; got != want {
		t.Errorf("validUTF8 gives %q, want %q", got, want)
	}
}

// TestDecodeNormalized decodes a special token that is looked for in normalized
// text: what stands for it is no special token to the library.
func TestDecodeNormalized(t *testing.T) {
	data := strings.Replace(small("normalizer", `{"type": "Prepend", "prepend": "▁"}`), `"special": true`, `"special": true, "normalized": true`, 1)
	tok, err := Read([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	if ids, text := tok.Encode("<s>a", true), tok.Decode([]int32{7, 0}, true); !slices.Equal(ids, []int32{7, 0}) || text != "▁<s>a" || tok.Special(7) {
		t.Errorf("%v, %q", ids, text)
	}
}

// TestPatterns refuses what Oniguruma and Go read in different ways, as
// tokenizers 0.23 has it.
func TestPatterns(t *testing.T) {
	for _, expr := range []string{
		`(?i)a|b`, `(?i:'s|'t|'re|'ve|'m|'ll|'d)`, `(?i:[sdmt]|ll|ve|re)`, `(?i:[’']s)`, `(?i:s|s)`, `(?:a|(?i:b))ß`, `\p{Lu}+`, `[\w-]+`, `\x41`, `\x7f`, `a{2}`,
		`a{10}`, `a{0,1}b`, `a{2,}?b`, `(a)(b)|\(`, `é`, `[(]ss`,
	} {
		if _, err := newPattern(expr); err != nil {
			t.Errorf("%s: %v", expr, err)
		}
	}
	for expr, want := range map[string]string{
		`\pL`: "without braces", `[\PL]`: "without braces", `(?i:\p{Lu})`: "case does not count", `(?i)x\p{Lu}`: "case does not count",
		`(?i:ss)`: "case does not count", `(?i:xFi)`: "case does not count", `(?i:ß)`: "case does not count", `(?i:[a-zß])`: "case does not count",
		`(?i:(?:ss))`: "case does not count", `a(?i)b|c`: "group", `\xC3\xA9`: "not ASCII", `[\x80-\xff]`: "not ASCII", `a{2}?b`: "{2}?", `a{02}`: "{02}",
	} {
		if _, err := newPattern(expr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", expr, err, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	deep := strings.Repeat(`{"type": "Sequence", "normalizers": [`, 40) + strings.Repeat(`]}`, 40)
	for _, c := range []struct {
		member, part, want string
		unsupported        bool
	}{
		{"model", `{"type": "Unigram", "vocab": [["a", 0.5]]}`, `model "Unigram"`, true},
		{"model", `{"type": "BPE", "vocab": {"a": 0}, "merges": [], "end_of_word_suffix": "</w>"}`, "end_of_word_suffix", true},
		{"model", `{"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.1}`, "dropout", true},
		{"model", `{"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}`, `tokens "a" and "b" have id 0`, false},
		{"model", `{"type": "BPE", "vocab": {"a": 0, "a": 1}, "merges": []}`, "occurs twice", false},
		{"model", `{"type": "BPE", "vocab": {"a": -1}, "merges": []}`, "id -1", false},
		{"model", `{"type": "BPE", "vocab": {"a": 99999999}, "merges": []}`, "id 99999999", false},
		{"model", `{"type": "BPE", "vocab": {"a": 0}, "merges": ["a a"]}`, "not in the vocabulary", false},
		{"model", `{"type": "BPE", "vocab": {"a": 0}, "merges": ["aa"]}`, "is not two tokens", false},
		{"model", `{"type": "BPE", "vocab": {"a": 0}, "merges": [], "unk_token": "u"}`, "unk_token", false},
		{"model", ``, "there is no model", false},
		{"normalizer", `{"type": "BertNormalizer"}`, `normalizer "BertNormalizer"`, true},
		{"normalizer", `{"type": "Prepend"}`, "prepend is missing", false},
		{"normalizer", `[]`, "type is missing", false},
		{"normalizer", deep, "nested deeper", false},
		{"pre_tokenizer", `{"type": "BertPreTokenizer"}`, `pre_tokenizer "BertPreTokenizer"`, true},
		{"pre_tokenizer", `{"type": "Split", "pattern": {"Regex": "a(?!b)"}, "behavior": "Isolated"}`, `a(?!b)`, true},
		{"pre_tokenizer", `{"type": "Split", "pattern": {"Regex": "a*"}, "behavior": "Isolated"}`, "empty text", true},
		{"pre_tokenizer", `{"type": "Split", "pattern": {"Regex": "(a{500}){500}"}, "behavior": "Isolated"}`, "expression", true},
		{"pre_tokenizer", `{"type": "Split", "pattern": {"Regex": "[a&&b]"}, "behavior": "Isolated"}`, "operations on classes", true},
		{"pre_tokenizer", `{"type": "Split", "pattern": {"Regex": "^a"}, "behavior": "Isolated"}`, "'^'", true},
		{"pre_tokenizer", `{"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated"}`, "neither", false},
		{"pre_tokenizer", `{"type": "Split", "pattern": {"String": "a"}, "behavior": "Odd"}`, `behavior "Odd"`, true},
		{"post_processor", `{"type": "BertProcessing"}`, `post_processor "BertProcessing"`, true},
		{"post_processor", `{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}], "special_tokens": {}}`, `names "x"`, false},
		{"decoder", `{"type": "WordPiece"}`, `decoder "WordPiece"`, true},
		{"added_tokens", `[{"id": 3, "content": "ab"}]`, "in the vocabulary 2", false},
		{"added_tokens", `[{"id": 9, "content": "x"}, {"id": 9, "content": "y"}]`, "have id 9", false},
	} {
		_, err := Read([]byte(small(c.member, c.part)))
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, rule.ErrUnsupported) != c.unsupported {
			t.Errorf("%s %s: error %v, want %q", c.member, c.part, err, c.want)
		}
		if _, broken := errors.AsType[*rule.Error](err); broken == c.unsupported {
			t.Errorf("%s %s: error of type %T", c.member, c.part, err)
		}
	}
}

// Time grows with the text, not with its square: 256 KiB of what would be
// the worst for backtracking and for naive merging takes a moment.
func TestLinear(t *testing.T) {
	data, err := os.ReadFile(stories)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := Read(data)
	if err != nil {
		t.Fatal(err)
	}
	byteLevel, err := Read([]byte(small("pre_tokenizer", `{"type": "ByteLevel"}`)))
	if err != nil {
		t.Fatal(err)
	}
	const limit = 10 * time.Second // 0.03 to 0.3 s each where it was slowest; the square would be minutes
	for _, text := range []string{" ", "a", "\n ", "ab", "'", "🏳️‍🌈"} {
		for _, tok := range []*Tokenizer{plain, byteLevel} {
			start := time.Now()
			tok.Encode(strings.Repeat(text, 1<<18/len(text)), true)
			if d := time.Since(start); d > limit {
				t.Errorf("256 KiB of %q take %v", text, d)
			}
		}
	}
}

func FuzzRead(f *testing.F) {
	data, err := os.ReadFile(stories)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, "Once upon a <s> time")
	f.Add([]byte(small("normalizer", `{"type": "NFKD"}`)), "é")
	f.Add([]byte(small("pre_tokenizer", `{"type": "Split", "pattern": {"Regex": "\\s+(?!\\S)|\\s+"}, "behavior": "MergedWithNext"}`)), "a  b")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tok, err := Read(data)
		if err != nil {
			return
		}
		for _, id := range tok.Encode(text, true) {
			if _, ok := tok.Token(id); !ok || int(id) >= tok.Size() {
				t.Fatalf("id %d of %q has no token", id, text)
			}
		}
		if got := tok.Encode(text, true); !slices.Equal(got, tok.Encode(text, true)) {
			t.Fatal("two calls differ")
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	data, err := os.ReadFile(stories)
	if err != nil {
		b.Fatal(err)
	}
	text := strings.Repeat("Once upon a time, there was a little girl named Lily. ", 200)
	tok, err := Read(data)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		tok.Encode(text, true)
	}
}
