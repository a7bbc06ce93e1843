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

// specified are the families of rules that the text states and the vectors
// show. Annex A has its own file and its own tests; what a tokenizer's files
// must be is no matter of adapters.
var specified = []string{"ST", "SH", "AD", "LT", "PF"}

// TestEveryRule makes sure that each rule has code that cites it, a vector that
// breaks it, one that obeys it, and a statement in the text, and that nobody
// cites a rule that there is not.
func TestEveryRule(t *testing.T) {
	broken, obeyed := map[rule.ID]bool{}, map[rule.ID]bool{}
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
	stated := statements(t)
	cited := citations(t)
	annex, _ := os.ReadFile("annex-a-record.md") // nil where it is not written yet
	for _, r := range rule.All() {
		family := string(r.ID[:2])
		if !slices.Contains(specified, family) {
			if !cited[r.ID] {
				t.Errorf("%s has no code that cites it", r.ID)
			}
			if family == "RC" && annex != nil && !strings.Contains(string(annex), string(r.ID)) {
				t.Errorf("%s has no statement in annex A", r.ID)
			}
			delete(cited, r.ID)
			continue
		}
		for what, ok := range map[string]bool{
			"vector that breaks it": broken[r.ID], "vector that obeys it": obeyed[r.ID],
			"statement in the text": stated[r.ID] != "", "code that cites it": cited[r.ID],
		} {
			if !ok {
				t.Errorf("%s has no %s", r.ID, what)
			}
		}
		word := map[rule.Severity]string{rule.Fatal: "MUST", rule.Unhandled: "MUST", rule.Warning: "SHOULD", rule.Info: "SHOULD"}[r.Severity]
		if !strings.HasPrefix(string(r.ID), "PF") && !strings.Contains(stated[r.ID], word) {
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

var statement = regexp.MustCompile(`(?m)^> \*\*([A-Z]{2}\d{3})\.\*\* ((?:.*\n)(?:> .*\n)*)`)

// statements are the numbered sentences of the text by rule.
func statements(t *testing.T) map[rule.ID]string {
	stated := map[rule.ID]string{}
	for _, m := range statement.FindAllStringSubmatch(spec.Text, -1) {
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
