package merge

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/testdata/fixture"
)

// with puts x into the place of value i.
func with(t safetensors.NamedData, i int, x float64) safetensors.NamedData {
	v := floats(t)
	v[i] = x
	t.DType.Encode64(t.Data, v)
	return t
}

// TestNotFinite: a value that is not finite is an error in what makes a delta,
// and a warning in what replaces values of the base. Both name the adapter and
// the tensor, of two adapters of the same modules too.
func TestNotFinite(t *testing.T) {
	r := rand.New(rand.NewPCG(62, 62))
	base := filepath.Join(t.TempDir(), "base.safetensors")
	fixture.Write(t, base, named("x.weight", values(r, dtype.BF16, 0.02, 8, 6)), named("x.bias", values(r, dtype.BF16, 0.02, 8)),
		named("head.weight", values(r, dtype.BF16, 0.02, 5, 6)), named("tokens.weight", values(r, dtype.F16, 0.02, 9, 6)))
	config := map[string]any{"lora_bias": true, "modules_to_save": []string{"head"}, "trainable_token_indices": map[string][]int{"tokens": {7, 2}}}
	parts := func() []safetensors.NamedData {
		return []safetensors.NamedData{
			named("x.lora_A.weight", values(r, dtype.F32, 0.1, 4, 6)), named("x.lora_B.weight", values(r, dtype.F32, 0.1, 8, 4)), named("x.lora_B.bias", values(r, dtype.F32, 0.1, 8)),
			named("head.weight", values(r, dtype.F32, 0.1, 5, 6)), named("tokens.token_adapter.trainable_tokens_delta", values(r, dtype.F32, 0.1, 2, 6)),
		}
	}
	plain := parts()[:2]
	other := writeAdapter(t, nil, plain...) // after the first, of the same names
	for _, c := range []struct {
		part  int
		value float64
		warns bool
		rule  rule.ID
	}{
		{0, math.NaN(), false, "AD017"}, {1, inf, false, "AD017"}, {2, math.NaN(), false, "AD017"},
		{3, math.NaN(), true, ""}, {3, -inf, true, ""}, {4, math.NaN(), true, ""}, {4, inf, true, ""}, {4, 1e6, false, "AD045"},
		{3, 1e6, false, ""},
	} {
		list := parts()
		list[c.part] = with(list[c.part], 4, c.value)
		a := writeAdapter(t, config, list...)
		f, report, err := mergeFile(t, Options{}, base, a, other)
		name := list[c.part].Name
		if c.rule != "" {
			if e, ok := errors.AsType[*rule.Error](err); !ok || e.Rule != c.rule || e.Tensor != name || c.rule == "AD017" && e.File != a {
				t.Errorf("%v in %s: %v, want %s that names %s", c.value, name, err, c.rule, a)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v in %s: %v", c.value, name, err)
			continue
		}
		var warned []string
		for _, w := range report.Warnings {
			if strings.HasSuffix(w, "[AD017]") {
				warned = append(warned, w)
			}
		}
		if c.warns != (len(warned) == 1) || c.warns && (!strings.Contains(warned[0], name) || !strings.Contains(warned[0], a) || !strings.Contains(warned[0], "1 of ")) {
			t.Errorf("%v in %s: warnings %q", c.value, name, report.Warnings)
		}
		tensor, at := "head.weight", 4
		if c.part == 4 {
			tensor, at = "tokens.weight", 7*6+4
		}
		if got := floats(tensorOf(t, f, tensor))[at]; finite(c.value) != finite(got) || math.IsNaN(c.value) != math.IsNaN(got) {
			t.Errorf("%v of %s was merged to %v", c.value, name, got)
		}
	}
}

// TestNotFiniteMagnitude names the magnitude that is not finite.
func TestNotFiniteMagnitude(t *testing.T) {
	r := rand.New(rand.NewPCG(63, 63))
	base := filepath.Join(t.TempDir(), "base.safetensors")
	fixture.Write(t, base, named("x.weight", values(r, dtype.F32, 0.02, 8, 6)))
	a := writeAdapter(t, map[string]any{"use_dora": true}, named("x.lora_A.weight", values(r, dtype.F32, 0.1, 4, 6)), named("x.lora_B.weight", values(r, dtype.F32, 0.1, 8, 4)),
		named("x.lora_magnitude_vector", with(values(r, dtype.F32, 1, 8), 3, math.NaN())))
	_, _, err := mergeFile(t, Options{}, base, a)
	if e, ok := errors.AsType[*rule.Error](err); !ok || e.Rule != "AD017" || e.Tensor != "base_model.model.x.lora_magnitude_vector" || e.File != a {
		t.Errorf("%v, want AD017 that names the magnitude", err)
	}
}

// TestSuspectStops: looking at replacements ends with the context.
func TestSuspectStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var r Report
	x := values(rand.New(rand.NewPCG(1, 1)), dtype.F32, 1, 4)
	if err := r.suspect(ctx, &Weighted{}, adapter.Tensor{DType: x.DType, Shape: x.Shape, Bytes: x.Data}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
