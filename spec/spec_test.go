package spec_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/validate"
	"github.com/loratool/loratool/merge"
	"github.com/loratool/loratool/spec"
	"github.com/loratool/loratool/train/corpus"
)

func vectors(t *testing.T) []spec.Vector {
	t.Helper()
	all, err := spec.Vectors()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestVectors holds the verdict of the validator on every vector against the
// one that the vector states.
func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			if v.Extend != nil && testing.Short() {
				t.Skip("big")
			}
			dir := t.TempDir()
			if err := v.Write(dir); err != nil {
				t.Fatal(err)
			}
			if v.Merged != "" {
				checkRestore(t, v, dir)
				return
			}
			if strings.HasSuffix(v.Input, ".jsonl") || strings.HasSuffix(v.Input, "tokenizer.json") {
				checkTraining(t, v, dir)
				return
			}
			if v.Expect == "merge" || slices.Contains(v.Rules, "AD045") && v.Expect == "reject" {
				checkMerge(t, v, dir)
				return
			}
			got, warned := verdict(t, v, dir)
			want := v.Expect
			if want == "reject" || want == "unsupported" {
				want = fmt.Sprintf("%s %s", v.Expect, v.Rules)
			}
			if got != want && v.Expect != "any" {
				t.Errorf("%s, want %s (%s)", got, want, v.Comment)
			}
			if v.Expect == "accept" && !slices.Equal(warned, v.Warn) {
				t.Errorf("warnings %v, want %v (%s)", warned, v.Warn, v.Comment)
			}
		})
	}
}

// verdict validates a vector: "accept", or what stands against it with the
// rules, and the rules of which it is warned.
func verdict(t *testing.T, v spec.Vector, dir string) (string, []rule.ID) {
	o := validate.Options{Deep: v.Deep}
	if v.Base != "" {
		base, err := checkpoint.Open(filepath.Join(dir, v.Base), checkpoint.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer base.Close()
		o.Base = base
	}
	if v.Profile != "" {
		o.Profile, _ = validate.FindProfile(v.Profile)
	}
	r, err := validate.Run(context.Background(), []string{filepath.Join(dir, v.Input)}, o)
	if err != nil {
		t.Fatal(err)
	}
	found := map[rule.Severity][]rule.ID{}
	for _, res := range r.Results {
		if res.Err != nil {
			t.Errorf("not readable: %v", res.Err)
		}
		for _, f := range res.Findings {
			if s := f.Severity; !slices.Contains(found[s], f.Rule) {
				found[s] = append(found[s], f.Rule)
			}
		}
	}
	warned := slices.Concat(found[rule.Warning], found[rule.Info])
	switch {
	case len(found[rule.Fatal]) > 0:
		return fmt.Sprintf("reject %s", found[rule.Fatal]), warned
	case len(found[rule.Unhandled]) > 0:
		return fmt.Sprintf("unsupported %s", found[rule.Unhandled]), warned
	}
	return "accept", warned
}

// checkMerge merges a vector and compares the digest of the merged file, or
// expects the refusal.
func checkMerge(t *testing.T, v spec.Vector, dir string) {
	base, err := checkpoint.Open(filepath.Join(dir, v.Base), checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	a, err := dialect.OpenPEFT(filepath.Join(dir, v.Input))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	out := filepath.Join(dir, "out")
	_, err = merge.Apply(context.Background(), out, base, []merge.Weighted{{Adapter: a.Adapter, Weight: 1}}, merge.Options{})
	if v.Expect == "reject" {
		if e, ok := errors.AsType[*rule.Error](err); !ok || e.Rule != v.Rules[0] {
			t.Errorf("merge gives %v, want rule %s", err, v.Rules[0])
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(out, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if got := digest(data); got != v.Output {
		t.Errorf("merged file has sha256 %s, want %s", got, v.Output)
	}
}

// checkRestore restores the base of a record and compares its digest, or
// expects the refusal and that nothing was written.
func checkRestore(t *testing.T, v spec.Vector, dir string) {
	out := filepath.Join(dir, "out")
	err := restore(v, dir, out)
	if v.Expect == "reject" {
		if e, ok := errors.AsType[*rule.Error](err); !ok || e.Rule != v.Rules[0] {
			t.Errorf("restoring gives %v, want rule %s (%s)", err, v.Rules[0], v.Comment)
		}
		if _, err := os.Lstat(out); err == nil {
			t.Error("the output is there")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(out); err == nil && info.IsDir() {
		out = filepath.Join(out, "model.safetensors")
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if got := digest(data); got != v.Output {
		t.Errorf("restored file has sha256 %s, want %s", got, v.Output)
	}
}

// checkTraining reads samples, or a tokenizer with its chat template.
func checkTraining(t *testing.T, v spec.Vector, dir string) {
	var err error
	if path := filepath.Join(dir, v.Input); strings.HasSuffix(path, ".jsonl") {
		_, err = corpus.ReadIDs(path)
	} else {
		_, err = corpus.Open(filepath.Dir(path))
	}
	e, ok := errors.AsType[*rule.Error](err)
	if v.Expect == "accept" && err != nil || v.Expect == "reject" && (!ok || e.Rule != v.Rules[0]) {
		t.Errorf("reading gives %v, want %s %v (%s)", err, v.Expect, v.Rules, v.Comment)
	}
}

// restore writes the base of a record to out.
func restore(v spec.Vector, dir, out string) error {
	r, f, err := merge.OpenRecord(filepath.Join(dir, v.Input))
	if err != nil {
		return err
	}
	defer f.Close()
	merged, err := checkpoint.Open(filepath.Join(dir, v.Merged), checkpoint.Options{})
	if err != nil {
		return err
	}
	defer merged.Close()
	a, err := dialect.OpenPEFT(filepath.Join(dir, v.Adapter))
	if err != nil {
		return err
	}
	defer a.Close()
	u, err := merge.NewUnmerge(merged, []merge.Weighted{{Adapter: a.Adapter, Weight: 1}}, r, merge.UnmergeOptions{})
	if err != nil {
		return err
	}
	_, err = u.Write(context.Background(), out)
	return err
}

// TestEveryRule makes sure that each rule has code that cites it, a vector that
// breaks it, one that obeys it, and a statement in the text, and that nobody
// cites a rule that there is not. No rule is exempt.
func TestEveryRule(t *testing.T) {
	broken, obeyed := shown(t)
	stated := statements(t)
	cited := citations(t)
	for _, r := range rule.All() {
		for what, ok := range map[string]bool{
			"vector that breaks it": broken[r.ID], "vector that obeys it": obeyed[r.ID],
			"statement in the text": stated[r.ID] != "", "code that cites it": cited[r.ID],
		} {
			if !ok {
				t.Errorf("%s has no %s", r.ID, what)
			}
		}
		word := map[rule.Severity]string{rule.Fatal: "MUST", rule.Unhandled: "MUST", rule.Warning: "SHOULD", rule.Info: "SHOULD"}[r.Severity]
		if !informative[string(r.ID[:2])] && !strings.Contains(stated[r.ID], word) {
			t.Errorf("%s is a rule of the class %q, and its statement has no %s: %q", r.ID, r.Severity, word, stated[r.ID])
		}
		delete(stated, r.ID)
		delete(cited, r.ID)
	}
	for id := range stated {
		t.Errorf("the text states %s, which is no rule", id)
	}
	for id := range cited {
		t.Errorf("code cites %s, which is no rule", id)
	}
}

// informative are the families of annexes B and C, whose statements demand
// nothing of an adapter.
var informative = map[string]bool{"PF": true, "TD": true, "TK": true}

// shown are the rules that a vector breaks, and those that one obeys.
func shown(t *testing.T) (broken, obeyed map[rule.ID]bool) {
	broken, obeyed = map[rule.ID]bool{}, map[rule.ID]bool{}
	for _, v := range vectors(t) {
		to := obeyed
		if v.Expect == "reject" || v.Expect == "unsupported" {
			to = broken
		}
		for _, id := range v.Rules {
			to[id] = true
		}
		for _, id := range v.Warn {
			broken[id] = true
		}
		for _, id := range slices.Concat(v.Rules, v.Warn) {
			if _, ok := rule.Lookup(id); !ok {
				t.Errorf("vector %s names %s, which is no rule", v.Name, id)
			}
		}
	}
	return broken, obeyed
}

var statement = regexp.MustCompile(`(?m)^> \*\*([A-Z]{2}\d{3})\.\*\* ((?:.*\n)(?:> .*\n)*)`)

// statements are the numbered sentences of the text by rule.
func statements(t *testing.T) map[rule.ID]string {
	stated := map[rule.ID]string{}
	for _, m := range statement.FindAllStringSubmatch(spec.Text+"\n"+spec.AnnexA, -1) {
		if stated[rule.ID(m[1])] != "" {
			t.Errorf("%s is stated twice", m[1])
		}
		stated[rule.ID(m[1])] = m[2]
	}
	return stated
}

var quotedID = regexp.MustCompile(`"([A-Z]{2}\d{3})"`)

// citations are the rules that code outside tests and the tables names.
func citations(t *testing.T) map[rule.ID]bool {
	cited := map[rule.ID]bool{}
	for _, root := range []string{"../format", "../merge", "../cmd", "../train", "../internal", "../diff"} {
		err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") || strings.Contains(p, "rule/table") {
				return err
			}
			data, err := os.ReadFile(p)
			for _, m := range quotedID.FindAllSubmatch(data, -1) {
				cited[rule.ID(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return cited
}
