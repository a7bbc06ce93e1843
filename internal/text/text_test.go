package text

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestBytes(t *testing.T) {
	tests := []struct {
		n    int64
		want string
	}{
		{0, "0 B"}, {999, "999 B"}, {1000, "1.0 kB"}, {13_100_000, "13.1 MB"},
		{999_949, "999.9 kB"}, {999_950, "1.0 MB"}, {16_060_556_672, "16.1 GB"},
		{math.MaxInt64, "9.2 EB"}, {-1500, "-1.5 kB"}, {math.MinInt64, "-9.2 EB"},
	}
	for _, tt := range tests {
		if got := Bytes(tt.n); got != tt.want {
			t.Errorf("Bytes(%d) = %q, want %q", tt.n, got, tt.want)
		}
	}
}

func TestCount(t *testing.T) {
	tests := []struct {
		n    int64
		want string
	}{
		{0, "0"}, {224, "224"}, {3_400_000, "3.4 M"}, {8_030_261_248, "8.0 B"},
		{999_999, "1.0 M"}, {1_000_000_000_000, "1.0 T"}, {math.MaxInt64, "9223372.0 T"},
	}
	for _, tt := range tests {
		if got := Count(tt.n); got != tt.want {
			t.Errorf("Count(%d) = %q, want %q", tt.n, got, tt.want)
		}
	}
}

func TestPercent(t *testing.T) {
	tests := []struct {
		x    float64
		want string
	}{
		{0, "0.0 %"}, {1e-9, "<0.1 %"}, {0.57, "57.0 %"}, {0.992, "99.2 %"},
		{0.99999, ">99.9 %"}, {1, "100.0 %"}, {1.5, "150.0 %"}, {math.NaN(), "n/a"},
	}
	for _, tt := range tests {
		if got := Percent(tt.x); got != tt.want {
			t.Errorf("Percent(%v) = %q, want %q", tt.x, got, tt.want)
		}
	}
}

func TestRatio(t *testing.T) {
	tests := []struct {
		x    float64
		want string
	}{
		{0, "0.00"}, {1, "1.00"}, {0.0123, "0.0123"}, {0.00123456, "0.00123"}, {1.2e-5, "1.20e-05"},
		{12.345, "12.3"}, {123.45, "123"}, {1e9, "1.00e+09"}, {-0.5, "-0.500"},
		{math.NaN(), "n/a"}, {math.Inf(1), "+Inf"},
	}
	for _, tt := range tests {
		if got := Ratio(tt.x); got != tt.want {
			t.Errorf("Ratio(%v) = %q, want %q", tt.x, got, tt.want)
		}
	}
}

func TestQuote(t *testing.T) {
	tests := []struct{ in, want string }{
		{"model.layers.0.q_proj", "model.layers.0.q_proj"},
		{"größe 模型", "größe 模型"},
		{"", `""`},
		{"\x1b[31mred", `"\x1b[31mred"`},
		{"a\nb", `"a\nb"`},
		{"evil\u202etxt", `"evil\u202etxt"`},
		{"zero\u200bwidth", `"zero\u200bwidth"`},
		{"c1\u0085", `"c1\u0085"`},
		{"bad\xff", `"bad\xff"`},
		{"\ufffd", `"\ufffd"`},
		{`"quoted"`, `"\"quoted\""`},
		{" padded ", `" padded "`},
	}
	for _, tt := range tests {
		if got := Quote(tt.in); got != tt.want {
			t.Errorf("Quote(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

// FuzzQuote checks that no control byte and no format character gets through.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"a", "\x1b]0;x\a", "\u202e", "\xff", "::error::x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range Quote(s) {
			if r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0x200b && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == '\ufeff' {
				t.Errorf("Quote(%q) holds %U", s, r)
			}
		}
	})
}

// checkpointNames lists the tensors of a model of many layers.
func checkpointNames(layers int) (names []string) {
	for i := range layers {
		for _, m := range []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"} {
			names = append(names, fmt.Sprintf("model.layers.%d.%s.weight", i, m))
		}
	}
	return append(names, "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight")
}

func TestEscapeJSON(t *testing.T) {
	for in, want := range map[string]string{
		"{\n  \"a\": 1\n}\n":               "{\n  \"a\": 1\n}\n",
		"\"\x7f\u009b\u202e\u200b\u00fc\"": `"\u007f\u009b\u202e\u200b\u00fc"`,
		"\"\U0001f642\"":                   `"\ud83d\ude42"`,
	} {
		got := string(EscapeJSON([]byte(in)))
		var a, b any
		if got != want || json.Unmarshal([]byte(got), &a) != nil || json.Unmarshal([]byte(in), &b) != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	names := checkpointNames(32)
	tests := []struct {
		name string
		want []string
	}{
		{"model.layers.7.self_attn.q_prj.weight", []string{"model.layers.7.self_attn.q_proj.weight"}},
		{"layers.12.mlp.down_proj.weight", []string{"model.layers.12.mlp.down_proj.weight"}},
		{"model.layers.32.self_attn.q_proj.weight", nil}, // whichever, but a q_proj
		{"model.language_model.layers.3.mlp.up_proj.weight", []string{"model.layers.3.mlp.up_proj.weight"}},
		{"LM_HEAD.weight", []string{"lm_head.weight"}},
		{"model.embed_token.weight", []string{"model.embed_tokens.weight"}},
	}
	for _, tt := range tests {
		got := Nearest(tt.name, names, 3)
		if len(got) != 3 || tt.want != nil && got[0] != tt.want[0] {
			t.Errorf("Nearest(%q) = %q, want %q first", tt.name, got, tt.want)
		}
		if tt.want == nil && !strings.HasSuffix(got[0], "self_attn.q_proj.weight") {
			t.Errorf("Nearest(%q) = %q, want a q_proj", tt.name, got)
		}
	}
	if got := Nearest("BF61", []string{"F32", "BF16", "F16", "I8"}, 2); got[0] != "BF16" {
		t.Errorf("Nearest(BF61) = %q", got)
	}
	if got := Nearest("x", nil, 3); len(got) != 0 {
		t.Errorf("Nearest of nothing = %q", got)
	}
	if got := Nearest("x", []string{"y"}, -1); len(got) != 0 {
		t.Errorf("Nearest of -1 = %q", got)
	}
}

// TestNearestIsFast holds 100,000 candidates to a second; it takes some 40 ms.
func TestNearestIsFast(t *testing.T) {
	names := checkpointNames(100_000 / 7)
	start := time.Now()
	got := Nearest("model.layers.9999.self_attn.qproj.weight", names, 3)
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v for %d names", took, len(names))
	}
	if got[0] != "model.layers.9999.self_attn.q_proj.weight" {
		t.Errorf("got %q", got)
	}
}

func BenchmarkNearest(b *testing.B) {
	names := checkpointNames(100_000 / 7)
	for b.Loop() {
		Nearest("model.layers.9999.self_attn.qproj.weight", names, 3)
	}
}

func TestEditDistance(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0}}
	for _, tt := range tests {
		if _, got := editDistance(nil, tt.a, tt.b); got != tt.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestSparkline(t *testing.T) {
	values := []float64{0, 1, 2, 3, 4, 5, 6, 7, math.NaN(), math.Inf(1)}
	if got, want := Sparkline(values, true), "▁▂▃▄▅▆▇█ !"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := Sparkline(values, false), "01245789 !"; got != want {
		t.Errorf("plain: got %q, want %q", got, want)
	}
	if got := Sparkline([]float64{3, 3}, true); got != "▅▅" {
		t.Errorf("equal values: got %q", got)
	}
	if got := Sparkline([]float64{-math.MaxFloat64, math.MaxFloat64}, false); got != "09" {
		t.Errorf("huge range: got %q", got)
	}
	if got := Sparkline(nil, true); got != "" {
		t.Errorf("nothing: got %q", got)
	}
}
