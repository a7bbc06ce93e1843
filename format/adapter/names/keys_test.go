package names

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/loratool/loratool/format/rule"
)

// TestEveryKey holds the map to what we say of it: every key loads, and is
// exercised by a model that interop/check_names.py generates and merges, or by
// names sampled from its patterns (TestVectors) and conversions that cover each
// element once (TestEveryConversion), or it is refused by the name of an
// operation.
func TestEveryKey(t *testing.T) {
	data, err := load()
	if err != nil {
		t.Fatal(err)
	}
	byModel := readJSON[struct {
		Transformers     string
		Families, Models map[string][]string
	}](t, "testdata/exercised.json")
	if byModel.Transformers != data.Version {
		t.Errorf("exercised.json is of transformers %s, the map of %s", byModel.Transformers, data.Version)
	}
	exercised := map[string]bool{}
	for _, models := range []map[string][]string{byModel.Families, byModel.Models} {
		for _, keys := range models {
			for _, k := range keys {
				exercised[k] = true
			}
		}
	}
	vectors := readJSON[map[string][][3]*string](t, "testdata/vectors.json")
	count := map[string]int{}
	for _, name := range append(slices.Sorted(maps.Keys(data.Keys)), slices.Sorted(maps.Keys(data.Aliases))...) {
		key, specs := data.key(name)
		m := &Map{model: fakeModel{}}
		if err := m.addKey(key, "", specs); err != nil || len(specs) == 0 {
			t.Errorf("key %s does not load: %v", name, err)
			continue
		}
		refused := refusal(t, m)
		switch {
		case refused != nil:
			if u, ok := errors.AsType[*rule.Unsupported](refused); !ok || u.What == "" {
				t.Errorf("key %s is refused without the name of an operation: %v", name, refused)
			}
			t.Logf("unsupported: key %s: %v", name, refused)
			count["unsupported"]++
		case exercised[name]:
			count["by a model"]++
		case len(vectors[key])+len(vectors[name]) > 0:
			count["by its patterns"]++
		default:
			t.Errorf("key %s is exercised by nothing", name)
		}
		delete(exercised, name)
	}
	if total := count["by a model"] + count["by its patterns"] + count["unsupported"]; total != 251 || len(exercised) > 0 {
		t.Errorf("%d keys, want 251; exercised are %v that the map does not have", total, slices.Collect(maps.Keys(exercised)))
	}
	t.Logf("%v", count)
}

// refusal is why a key cannot be run, if there is a reason: a rule that is not
// understood, or a conversion that does not run on tensors that suit it.
func refusal(t *testing.T, m *Map) error {
	t.Helper()
	if m.Refused() != nil {
		return m.Refused()
	}
	model := fakeModel{settings: map[string]string{"num_attention_heads": "4", "num_key_value_heads": "2", "head_dim": "6"}}
	for _, tr := range m.converters {
		in, total := inputs(tr)
		out, err := (&conversion{tr, model}).run(in)
		if err != nil {
			return err
		}
		if got := covered(t, out); got != total {
			t.Errorf("%s %v: %d elements of %d", tr.key, tr.from, got, total)
		}
	}
	return nil
}

func readJSON[T any](t *testing.T, path string) (v T) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}
