package merge

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/testdata/fixture"
)

// cut takes the last bytes of a file, within its last page, which reads as
// zeros from there on and is no fault.
func cut(t *testing.T, file string) {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, info.Size()-4); err != nil {
		t.Fatal(err)
	}
}

// TestVerifyChangedInputs cuts an input of a proof.
func TestVerifyChangedInputs(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	for _, victim := range []string{"", "base", "adapter", "merged"} {
		dir := t.TempDir()
		base, merged := filepath.Join(dir, "base.safetensors"), filepath.Join(dir, "merged.safetensors")
		fixture.Write(t, base, named("x.weight", values(r, dtype.F32, 1, 8, 6)))
		folder := writeAdapter(t, nil, named("x.lora_A.weight", values(r, dtype.F32, 1, 4, 6)), named("x.lora_B.weight", values(r, dtype.F32, 1, 8, 4)))
		from, ws := fixture.Open(t, base), openWeighted(t, folder)
		if _, err := Apply(context.Background(), merged, from, ws, Options{}); err != nil {
			t.Fatal(err)
		}
		to := fixture.Open(t, merged)
		if victim != "" {
			cut(t, map[string]string{"base": base, "adapter": filepath.Join(folder, "adapter_model.safetensors"), "merged": merged}[victim])
		}
		_, err := Verify(context.Background(), from, to, ws, VerifyOptions{})
		if errors.Is(err, safetensors.ErrChanged) != (victim != "") {
			t.Errorf("a %q that was cut off: %v", victim, err)
		}
	}
}

// TestChangedInputs cuts an input of a command that writes.
func TestChangedInputs(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for _, victim := range []string{"base", "adapter"} {
		base := filepath.Join(t.TempDir(), "base.safetensors")
		fixture.Write(t, base, named("x.weight", values(r, dtype.F32, 1, 8, 6)))
		folder := writeAdapter(t, nil, named("x.lora_A.weight", values(r, dtype.F32, 1, 4, 6)), named("x.lora_B.weight", values(r, dtype.F32, 1, 8, 4)))
		file := map[string]string{"base": base, "adapter": filepath.Join(folder, "adapter_model.safetensors")}[victim]
		ws, from := openWeighted(t, folder), fixture.Open(t, base)
		merged, record := mergeRecorded(t, Options{}, base, ws)
		cut(t, file)
		dir := t.TempDir()
		for name, run := range map[string]func(out string) error{
			"merge": func(out string) error {
				_, err := Apply(context.Background(), out, from, ws, Options{Record: out + ".record"})
				return err
			},
			"lossy unmerge": func(out string) error {
				u, err := NewLossyUnmerge(from, ws, UnmergeOptions{})
				if err != nil {
					return err
				}
				_, err = u.Write(context.Background(), out)
				return err
			},
		} {
			if err := run(filepath.Join(dir, "out.safetensors")); !errors.Is(err, safetensors.ErrChanged) {
				t.Errorf("%s with a %s that was cut off: %v", name, victim, err)
			}
		}
		if victim == "adapter" {
			if _, err := unmergeTo(t, filepath.Join(dir, "out.safetensors"), merged, record, ws); err == nil {
				t.Error("unmerge with an adapter that was cut off succeeds")
			}
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
			t.Errorf("left %q behind", left)
		}
	}
}
