package validate_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/validate"
	"github.com/loratool/loratool/spec"
)

// FuzzAdapter checks that whatever stands in the two files of an adapter, it
// is judged: no panic, no other failure, and only rules that there are. Going
// on behind a broken rule must not lead anywhere else.
func FuzzAdapter(f *testing.F) {
	all, err := spec.Vectors()
	if err != nil {
		f.Fatal(err)
	}
	for _, v := range all {
		dir := f.TempDir()
		if v.Extend != nil || v.Input != "adapter" || v.Write(dir) != nil {
			continue
		}
		config, _ := os.ReadFile(filepath.Join(dir, "adapter", "adapter_config.json"))
		weights, _ := os.ReadFile(filepath.Join(dir, "adapter", "adapter_model.safetensors"))
		f.Add(config, weights)
	}
	vllm, _ := validate.FindProfile("vllm")
	f.Fuzz(func(t *testing.T, config, weights []byte) {
		dir := t.TempDir()
		for name, data := range map[string][]byte{"adapter_config.json": config, "adapter_model.safetensors": weights} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		r, err := validate.Run(context.Background(), []string{dir}, validate.Options{Deep: true, Profile: vllm})
		if err != nil {
			t.Fatal(err)
		}
		for _, res := range r.Results {
			if res.Err != nil {
				t.Errorf("not readable: %v", res.Err)
			}
			for _, f := range res.Findings {
				if _, ok := rule.Lookup(f.Rule); !ok || f.Message == "" || strings.ContainsRune(f.Message, 0) {
					t.Errorf("finding %+v", f)
				}
			}
		}
		for _, f := range []validate.Format{validate.Text, validate.JSON, validate.GitHub} {
			var b strings.Builder
			if err := r.Write(&b, f); err != nil || strings.ContainsAny(b.String(), "\x00\x1b\u202e\u200b") {
				t.Errorf("%s: %v: %q", f, err, b.String())
			}
		}
	})
}
