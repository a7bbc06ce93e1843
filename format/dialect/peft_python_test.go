package dialect

import (
	"errors"
	"testing"
)

// TestPythonPatterns holds keys that RE2 would take and read in another way
// against re.match(rf"(.*\.)?({key})$", name) of Python 3.11.
func TestPythonPatterns(t *testing.T) {
	for _, c := range []struct {
		key, name string
		matches   bool
	}{
		{`layers\\.\\d{,2}\\.q`, "m.layers.10.q", true},
		{`layers\\.\\d{,2}\\.q`, "m.layers.100.q", false},
		{`a{,}`, "aaa", true},
		{`[{,2}]a`, "2a", true},
		{`\\{,2}`, "{{}", false},
		{`a{,b}`, "a{,b}", true},
		{`[[:alpha:]]`, "x", false},
		{`[[:alpha:]]`, "p]", true},
		{`[]a]x`, "]x", true},
		{`[^]a]x`, "]x", false},
		{`[^[a]x`, "[x", false},
		{`b`, "b\n", true},
		{`b`, "b\n\n", false},
		{`a.b`, "aéb", true},
		{`[^.]*`, "aéb", true},
		{`m.fc+`, "m.fc+", true}, // equal to the name, which is its own key
		{`fc+`, "m.fc+", false},
	} {
		cfg, err := parsePEFTConfig("c", []byte(`{"peft_type":"LORA","alpha_pattern":{"`+c.key+`":4}}`))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := cfg.alphaPattern.lookup(c.name, 8); err != nil || (got == 4) != c.matches {
			t.Errorf("%s for %q = %v, %v; want a match: %v", c.key, c.name, got, err, c.matches)
		}
	}
	for _, c := range []struct{ key, name string }{
		{`(a)\\1`, "aa"}, {`(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)\\12`, "abcdefghij\n"},
		{`\\w+`, "é"}, {`\\s`, "\u00a0"}, {`\\bb`, "éb"}, {`(?i:k)`, "\u212a"}, {`[a-z]`, "b\n"},
	} {
		cfg, err := parsePEFTConfig("c", []byte(`{"peft_type":"LORA","alpha_pattern":{"`+c.key+`":4}}`))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := cfg.alphaPattern.lookup(c.name, 8); !errors.Is(err, errNotRE2) {
			t.Errorf("%s for %q = %v, %v; want that it cannot be read", c.key, c.name, got, err)
		}
	}
}
