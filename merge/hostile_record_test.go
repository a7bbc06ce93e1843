package merge

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/record"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/testdata/fixture"
)

// forge writes a record of the same blobs, some of their bytes changed, with
// another head and a right digest.
func forge(t *testing.T, path string, body func(b []byte), head func(h *record.Head)) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := record.NewReader(bytes.NewReader(data), int64(len(data)), path)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(r.Head)
	if err != nil {
		t.Fatal(err)
	}
	var h record.Head
	if err := json.Unmarshal(raw, &h); err != nil {
		t.Fatal(err)
	}
	blobs := data[8 : len(data)-56] // and the old head, which nothing points to
	if body != nil {
		body(blobs)
	}
	if head != nil {
		head(&h)
	}
	var b bytes.Buffer
	w, err := record.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Put(blobs); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(&h); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "forged")
	if err := os.WriteFile(out, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	return out
}

// hostileFixture merges a module of more than one block.
func hostileFixture(t *testing.T) (merged, record string, ws []Weighted) {
	r := rand.New(rand.NewPCG(41, 41))
	base := filepath.Join(t.TempDir(), "base.safetensors")
	fixture.Write(t, base, named("x.weight", values(r, dtype.BF16, 0.02, 60, 1200)), named("other", values(r, dtype.BF16, 0.02, 8, 50)))
	a := writeAdapter(t, map[string]any{"r": 2}, named("x.lora_A.weight", values(r, dtype.F32, 0.1, 2, 1200)), named("x.lora_B.weight", values(r, dtype.F32, 0.1, 60, 2)))
	ws = openWeighted(t, a)
	merged, record = mergeRecorded(t, Options{}, base, ws)
	return merged, record, ws
}

// TestForgedHeads refuses records that are signed rightly and lie.
func TestForgedHeads(t *testing.T) {
	merged, path, ws := hostileFixture(t)
	for name, c := range map[string]struct {
		rule rule.ID
		head func(h *record.Head)
	}{
		"entry missing": {"RC016", func(h *record.Head) { h.Tensors = nil }},
		"entry of another": {"RC016", func(h *record.Head) {
			h.Tensors = append(h.Tensors, record.Tensor{Name: "other", Kind: record.Preimages, Data: h.Tensors[0].Data, Blocks: h.Tensors[0].Blocks})
		}},
		"verbatim of a change":  {"RC016", func(h *record.Head) { h.Tensors[0].Kind = record.Verbatim }},
		"gains without DoRA":    {"RC016", func(h *record.Head) { h.Tensors[0].Gains = &record.Blob{At: 8} }},
		"data cut":              {"RC009", func(h *record.Head) { h.Tensors[0].Data.Len-- }},
		"blocks cut":            {"RC009", func(h *record.Head) { h.Tensors[0].Blocks.Len-- }},
		"header of a size":      {"RC008", func(h *record.Head) { h.Base.Shards[0].Raw-- }},
		"huge header":           {"RC005", func(h *record.Head) { h.Base.Shards[0].Raw = 1 << 50 }},
		"shard of another size": {"RC015", func(h *record.Head) { h.Base.Shards[0].Bytes += 2 }},
		"huge shard":            {"RC015", func(h *record.Head) { h.Base.Shards[0].Bytes = 1 << 60 }},
		"no header":             {"RC008", func(h *record.Head) { h.Base.Shards[0].Header = h.Tensors[0].Data }},
		"other digest":          {"RC014", func(h *record.Head) { h.Base.Shards[0].Digest = "00" }},
		"merged digest":         {"RC011", func(h *record.Head) { h.Merged[0].Digest = "00" }},
		"merged pieces":         {"RC006", func(h *record.Head) { h.Merged[0].Digest, h.Merged[0].Pieces.Len = "00", 0 }},
		"merged size":           {"RC011", func(h *record.Head) { h.Merged[0].Bytes++ }},
		"weight":                {"RC012", func(h *record.Head) { h.Adapters[0].Weight = 2 }},
		"dtype":                 {"RC006", func(h *record.Head) { h.DType = "I8" }},
		"wrong dtype":           {"RC011", func(h *record.Head) { h.DType = "F16" }},
		"seed":                  {"RC006", func(h *record.Head) { h.Rounding, h.Seed = "stochastic", "-1" }},
		"folder":                {"RC011", func(h *record.Head) { h.Base.Folder = true }},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			_, err := unmergeTo(t, out, merged, forge(t, path, nil, c.head), ws)
			if e, ok := errors.AsType[*rule.Error](err); !ok || e.Rule != c.rule {
				t.Errorf("got %v, want %s", err, c.rule)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("the output is there")
			}
		})
	}
	if _, err := unmergeTo(t, filepath.Join(t.TempDir(), "out"), merged, forge(t, path, nil, func(h *record.Head) { h.Arithmetic = "other" }), ws); !errors.Is(err, rule.ErrUnsupported) {
		t.Errorf("other arithmetic: %v", err)
	}
	if _, err := unmergeTo(t, filepath.Join(t.TempDir(), "out"), merged, forge(t, path, nil, nil), ws); err != nil {
		t.Errorf("nothing forged: %v", err)
	}
}

// TestForgedIndices changes bytes of the indices: another base would come out,
// and its digest says so.
func TestForgedIndices(t *testing.T) {
	merged, path, ws := hostileFixture(t)
	r := rand.New(rand.NewPCG(42, 42))
	reader, f, err := OpenRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	data := reader.Tensors[0].Data
	if data.Len < 100 {
		t.Fatalf("%d bytes of indices are too few", data.Len)
	}
	for range 60 {
		forged := forge(t, path, func(b []byte) { b[data.At-8+r.Int64N(data.Len)] ^= 1 << r.IntN(8) }, nil)
		_, err := unmergeTo(t, filepath.Join(t.TempDir(), "out"), merged, forged, ws)
		if e, ok := errors.AsType[*rule.Error](err); !ok || !slices.Contains([]rule.ID{"RC010", "RC014"}, e.Rule) {
			t.Fatalf("got %v, want RC010 or RC014", err)
		}
	}
}
