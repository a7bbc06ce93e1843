package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
)

// evil is what must not reach a terminal or a report as it is: an escape
// sequence, a command to a runner of CI, bytes of C1, a change of direction,
// and characters of no width.
const evil = "\x1b]0;owned\a\x1b[31m\r\n::error::x\u009b1m\u202e\u200b\ufeff\x7f"

// hostile makes folders whose every name is evil: a base, the same with other
// values, an adapter for it, and one that does not fit.
func hostile(t *testing.T) (dir string) {
	dir = filepath.Join(t.TempDir(), "d"+strings.ReplaceAll(evil, "/", ""))
	module := "model.layers.0." + evil + "proj"
	weight := func(seed uint64) safetensors.NamedData { return normal(module+".weight", seed, 0.05, dtype.BF16, 8, 8) }
	norm := normal("model."+evil+"norm.weight", 1, 1, dtype.BF16, 8)
	for name, seed := range map[string]uint64{"base": 1, "tuned": 2} {
		put(t, filepath.Join(dir, name, "model.safetensors"), map[string]string{"format": "pt", evil: evil}, weight(seed), norm)
		writeText(t, filepath.Join(dir, name, "config.json"), `{"model_type":`+quoted(evil)+`,"architectures":[`+quoted(evil)+`]}`)
		writeText(t, filepath.Join(dir, name, evil+".txt"), evil)
	}
	config := func(more string) string {
		return `{"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":[` + quoted(evil+"proj") + `],"base_model_name_or_path":` + quoted(evil) + `,` + quoted(evil) + `:` + quoted(evil) + more + `}`
	}
	factors := func(module string) []safetensors.NamedData {
		p := "base_model.model." + module
		return []safetensors.NamedData{normal(p+".lora_A.weight", 1, 0.05, dtype.F32, 2, 8), normal(p+".lora_B.weight", 2, 0.05, dtype.F32, 8, 2)}
	}
	for name, a := range map[string]struct {
		config  string
		tensors []safetensors.NamedData
	}{
		"adapter":  {config(""), factors(module)},
		"second":   {config(""), factors(module)},
		"stranger": {config(`,"rank_pattern":{` + quoted(evil) + `:4}`), factors("other." + evil)},
		"broken":   {config(""), factors(module)[:1]},
		"odd":      {config(`,"bias":` + quoted(evil)), factors(module)},
		"kind":     {`{"peft_type":` + quoted(evil) + `}`, factors(module)},
		"extra":    {config(`,"modules_to_save":[` + quoted(evil) + `]`), append(factors(module), normal(evil, 1, 1, dtype.F32, 3))},
	} {
		put(t, filepath.Join(dir, name, "adapter_model.safetensors"), map[string]string{"format": "pt", "lora." + evil: evil, "lora.provenance": evil}, a.tensors...)
		writeText(t, filepath.Join(dir, name, "adapter_config.json"), a.config)
	}
	writeText(t, filepath.Join(dir, "index", "model.safetensors.index.json"), `{"weight_map":{`+quoted(evil)+`:`+quoted(evil)+`}}`)
	writeText(t, filepath.Join(dir, "data.jsonl"), `{`+quoted(evil)+`:1}`)
	writeText(t, filepath.Join(dir, "junk", "model.safetensors"), evil)
	return dir
}

func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	return b.String() + `"`
}

func put(t *testing.T, path string, metadata map[string]string, tensors ...safetensors.NamedData) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := safetensors.Write(f, tensors, metadata); err != nil {
		t.Fatal(err)
	}
}

func writeText(t *testing.T, path, s string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(s), 0o666); err != nil {
		t.Fatal(err)
	}
}

// TestNoRawControlByte runs every command that prints names on files whose
// every name is hostile, in every format, and looks at each byte of both
// streams. A command must run, or fail for the reason that its row gives.
func TestNoRawControlByte(t *testing.T) {
	for _, c := range hostileRuns {
		t.Run(c, func(t *testing.T) {
			t.Parallel()
			dir := hostile(t)
			var args []string
			for _, a := range strings.Fields(c) {
				name, at := strings.CutPrefix(a, "@")
				if at {
					name = filepath.Join(dir, name)
				}
				args = append(args, strings.ReplaceAll(name, "EVIL", evil))
			}
			var stdout, stderr bytes.Buffer
			code := run(context.Background(), args, strings.NewReader(evil), &stdout, &stderr)
			if stdout.Len()+stderr.Len() == 0 {
				t.Fatalf("exit status %d, and nothing was printed", code)
			}
			if os.Getenv("LORATOOL_SHOW") != "" {
				t.Logf("exit status %d\n%q\n%q", code, stdout.String(), stderr.String())
			}
			for name, b := range map[string]string{"stdout": stdout.String(), "stderr": stderr.String()} {
				if at := rawControl(b); at >= 0 {
					t.Errorf("exit status %d: %s has %q at byte %d: %q", code, name, b[at:min(at+4, len(b))], at, b[max(0, at-60):min(at+20, len(b))])
				}
			}
		})
	}
}

// rawControl returns where a text has a character that does not print and is
// no end of line, tab or space, or a line that commands a runner of CI; −1 if
// nowhere. The annotations of format github are such lines: those that validate
// itself writes name a file.
func rawControl(s string) int {
	for i, r := range s {
		if r == '\n' || r == '\t' {
			continue
		}
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return i
		}
	}
	if i := strings.Index("\n"+s, "\n::error::x"); i >= 0 {
		return i
	}
	return -1
}

// hostileRuns are command lines; @ stands for the folder of hostile, EVIL for
// evil.
var hostileRuns = slices.Concat(
	[]string{
		"inspect @base", "inspect @adapter", "inspect @adapter --json", "inspect @base --json", "inspect @adapter --base @base", "inspect @stranger --base @base",
		"inspect @broken", "inspect @kind", "inspect @odd", "inspect @extra", "inspect @index", "inspect @junk", "inspect @absentEVIL", "inspect @data.jsonl",
		"names @adapter", "names @base", "names @adapter --base @base", "names @base --json", "names EVIL",
		"diff @base @tuned", "diff @base @tuned --json", "diff @adapter @second", "diff @adapter @stranger --json", "diff @base @index",
		"merge @base @adapter --dry-run", "merge @base @adapter --dry-run --json", "merge @base @adapter -o @outEVIL --record @recordEVIL", "merge @base @adapter -o @out --json",
		"merge @base @stranger -o @out", "merge @base @broken -o @out", "merge @base @kind -o @out", "merge @base @extra -o @out", "merge @base @adapter=EVIL -o @out",
		"merge @base @adapter -o @out --skip EVIL", "merge @base @adapter -o @base", "merge @index @adapter -o @out", "merge @junk @adapter -o @out", "merge @base @adapter -o @out --verbose",
		"unmerge @tuned @adapter --lossy -o @out", "unmerge @tuned @stranger --lossy -o @out", "unmerge @tuned @adapter --record @data.jsonl -o @out",
		"verify-merge @tuned @base @adapter", "verify-merge @base @base @adapter --json", "swap @tuned @adapter @second --record @data.jsonl -o @out",
		"extract @base @tuned -o @out", "extract @base @tuned -o @out --json", "extract @base @tuned -o @out --modules --rank 2", "extract @base @tuned --dry-run", "extract @base @index -o @out",
		"rerank @adapter --rank 1 -o @out", "rerank @adapter --rank 1 -o @out --json", "rerank @adapter --rank EVIL -o @out", "rerank @broken --rank 1 -o @out", "rerank @adapter --rank 1 -o @out --modules",
		"compose @adapter @second -o @out", "compose @adapter @second -o @out --json", "compose @adapter @stranger -o @out", "compose @adapter @broken -o @out", "compose @adapter @second --method EVIL -o @out",
		"plain @adapter --base @base -o @out", "plain @adapter --init @second -o @out", "plain @adapter --base @tuned -o @out --json",
		"bind @adapter @base -o @outEVIL", "bind @stranger @base -o @out", "bind @adapter @base -o @out --json",
		"normalize @adapter --profile comfy -o @out", "normalize @extra --profile vllm -o @out", "normalize @adapter --profile EVIL -o @out", "normalize @broken --profile vllm -o @out",
		"train --base @base --data @data.jsonl -o @out", "train --base @index --data @data.jsonl -o @out", "train --base @base --data @absentEVIL -o @out", "train --config @base/config.json",
		"generate @base", "tokenize @base EVIL", "tokenize @junk EVIL", "rules EVIL", "EVIL", "validate --EVIL", "merge @base", "rules ST025 --json",
	},
	validateRuns(),
)

// validateRuns are runs of validate in each of its formats.
func validateRuns() (runs []string) {
	for _, f := range []string{"text", "json", "sarif", "junit", "github", "gitlab"} {
		runs = append(runs, "validate @ --deep --format "+f, "validate @adapter --base @base --format "+f, "validate @stranger --base @base --format "+f,
			"validate @absentEVIL --format "+f, "validate @extra --profile vllm --format "+f, "validate @index @junk @data.jsonl --format "+f)
	}
	return append(runs, "validate @adapter --base @index", "validate @adapter --ignore EVIL", "validate @adapter --severity EVIL=error", "validate @adapter --format EVIL", "validate @adapter --profile EVIL")
}
