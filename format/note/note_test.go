package note_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/note"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
)

// header is the header of a file with one tensor and the metadata given.
func header(t testing.TB, metadata map[string]string) *safetensors.Header {
	t.Helper()
	var b bytes.Buffer
	err := safetensors.Write(&b, []safetensors.NamedData{{Name: "t", DType: dtype.U8, Shape: []int{1}, Data: []byte{7}}}, metadata)
	if err != nil {
		t.Fatal(err)
	}
	h, err := safetensors.ReadHeader(bytes.NewReader(b.Bytes()), int64(b.Len()), "f")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestRoundTrip(t *testing.T) {
	want := note.Notes{Base: []note.Weight{{Name: "b.weight", DType: dtype.BF16, Shape: []int{2, 3}, Digest: note.Digest{1, 2}}, {Name: "a", DType: dtype.F32, Digest: note.Digest{0xff}}},
		Tensors: map[string]note.Digest{"t": {9}}, Modules: []note.Scale{{Module: "m", Rank: 4, Alpha: 2.5}}}
	m := want.Metadata()
	m["format"] = "pt"
	got, err := note.Read("f", header(t, m), rule.Stop)
	if err != nil {
		t.Fatal(err)
	}
	if got.Version != note.Spec || len(got.Base) != 2 || got.Base[1].Name != "b.weight" || fmt.Sprint(got.Base[1].Shape) != "[2 3]" ||
		got.Tensors["t"] != want.Tensors["t"] || got.Modules[0] != want.Modules[0] || len(got.Warnings)+len(got.Refusals) != 0 {
		t.Errorf("read %+v", got)
	}
	if note.Fingerprint(got.Base) != note.Fingerprint(want.Base) {
		t.Error("the fingerprint depends on the order")
	}
}

// TestVersions: what a reader of version 1.0 does with files of later ones.
func TestVersions(t *testing.T) {
	for _, c := range []struct {
		version, required string
		refused, broken   rule.ID
	}{
		{"1.0", "", "", ""}, {"1.1", "", "", ""}, {"1.9999", "", "", ""}, {"2.0", "", "LT002", ""}, {"0.9", "", "LT002", ""},
		{"1.1", "shiny", "LT003", ""}, {"1.1", "Shiny", "", "LT004"}, {"1.1", "a  b", "", "LT004"}, {"1", "", "", "LT001"},
		{"1.1.1", "", "", "LT001"}, {"1.00", "", "", "LT001"}, {"1.10000", "", "", "LT001"},
	} {
		var broken rule.ID
		n, err := note.Read("f", header(t, map[string]string{note.KeySpec: c.version, note.KeyRequired: c.required, "lora.later": "x"}), func(e *rule.Error) error {
			broken = e.Rule
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var refused rule.ID
		if len(n.Refusals) > 0 {
			refused = n.Refusals[0].Rule
		}
		if refused != c.refused || broken != c.broken {
			t.Errorf("%+v: refused for %q, broken %q", c, refused, broken)
		}
	}
}

// FuzzRead checks that no metadata makes the reader fail in another way than
// by reporting rules that there are.
func FuzzRead(f *testing.F) {
	f.Add("lora.base.tensors", `{"a":{"dtype":"F32","shape":[1,2],"sha256":"00"}}`, "lora.base.fingerprint", "sha256:0")
	f.Add("lora.modules", `{"m":[4,8]}`, "lora.tensors", `{"t":"ab"}`)
	f.Add("lora.spec", "1.1", "lora.required_features", "a b")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		var b bytes.Buffer
		if safetensors.Write(&b, nil, map[string]string{k1: v1, k2: v2}) != nil {
			t.Skip()
		}
		h, err := safetensors.ReadHeader(bytes.NewReader(b.Bytes()), int64(b.Len()), "f")
		if err != nil {
			t.Skip()
		}
		n, err := note.Read("f", h, func(e *rule.Error) error {
			if _, ok := rule.Lookup(e.Rule); !ok {
				t.Errorf("rule %q", e.Rule)
			}
			return nil
		})
		if err != nil || n == nil {
			t.Errorf("%v", err)
		}
	})
}

func ExampleFingerprint() {
	fmt.Println(note.Fingerprint([]note.Weight{{Name: "model.layers.0.q_proj.weight", DType: dtype.BF16, Shape: []int{4096, 4096}}}))
	// Output: sha256:1f6adccad1164d02e6b3e4792b33b33fbd863d11b5aa952d80d708ff7da99996
}
