package dialect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/strictjson"
)

// CheckPEFT is OpenPEFT for those who want every finding: report gets the
// broken rules, Warnings of the adapter what is legal but suspicious. Parts
// that break a rule are left out of what is returned. An error is a failure to
// read, or something that is valid but not handled.
func CheckPEFT(path string, report rule.Report) (*File, error) {
	f, err := openPEFT(path, report)
	if e, ok := errors.AsType[*rule.Error](err); ok {
		if err := report(e); err != nil {
			return nil, err
		}
		return checkWeights(path, e.Rule, report)
	}
	if err != nil {
		return nil, err
	}
	if f.config == nil { // a type that is only recognised: its container may still be broken
		g, err := checkWeights(path, "AD006", report)
		if err != nil || g == nil {
			return f, err
		}
		f.Weights = g.Weights
	} else {
		l := linter{c: f.config, a: f.Adapter, folder: folderOf(path), weights: f.Weights}
		l.config()
		if f.Weights != nil {
			l.modules()
			l.replacements()
		}
		f.Adapter.Warnings = append(f.Adapter.Warnings, l.found...)
	}
	return f, nil
}

// checkWeights looks at the container alone, where the config is of no use.
func checkWeights(path string, broken rule.ID, report rule.Report) (*File, error) {
	weights := path
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		weights = filepath.Join(path, WeightsName)
	}
	if broken != "AD001" && broken != "AD002" && broken != "AD006" || !strings.HasSuffix(weights, ".safetensors") {
		return nil, nil // it is the weights that are broken
	}
	f, err := safetensors.Check(weights, report)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		_, err = openWeights(folderOf(path), weights, report)
		return nil, reported(report, err)
	case err != nil || f == nil:
		return nil, reported(report, err)
	}
	return &File{Adapter: &adapter.Adapter{Source: path, Dialect: "peft"}, Weights: f}, nil
}

func folderOf(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return path
	}
	return filepath.Dir(path)
}

// A linter looks for what PEFT loads without a word although its author can
// hardly have meant it.
type linter struct {
	c      *peftConfig
	a      *adapter.Adapter
	folder string

	weights *safetensors.File // nil if they broke a rule
	found   []*rule.Error
}

func (l *linter) warn(id rule.ID, milder rule.Severity, format string, args ...any) {
	l.found = append(l.found, &rule.Error{File: l.c.file, Rule: id, Milder: milder, Err: fmt.Errorf(format, args...)})
}

// config looks at fields alone.
func (l *linter) config() {
	c := l.c
	has := func(name string) bool { v, ok := c.value.Lookup(name); return ok && v.Kind != strictjson.Null }
	if !has("r") {
		l.warn("AD004", rule.Warning, "r is missing: PEFT takes 8, other readers fail")
	}
	if !has("lora_alpha") {
		l.warn("AD005", rule.Warning, "lora_alpha is missing: PEFT takes 8, other readers fail")
	}
	switch {
	case c.base == "":
		l.warn("AD030", 0, "base_model_name_or_path is missing")
	case localPath(c.base):
		l.warn("AD043", 0, "base_model_name_or_path is the local path %q", c.base)
	}
	if c.rsLoRA && len(c.rankPattern)+len(c.alphaPattern) > 0 {
		l.warn("AD041", 0, "use_rslora with %d keys of rank_pattern and %d of alpha_pattern", len(c.rankPattern), len(c.alphaPattern))
	}
	l.imports()
	for _, p := range slices.Concat(c.rankPattern, c.alphaPattern) {
		l.expression("pattern", p.key, p.badness)
	}
	if _, err := os.Stat(filepath.Join(l.folder, pickleName)); err == nil {
		if _, err := os.Stat(filepath.Join(l.folder, WeightsName)); err == nil {
			l.warn("AD010", 0, "%s lies beside %s", pickleName, WeightsName)
		}
	}
}

// localPath reports whether a base is named by a path of one machine.
func localPath(s string) bool {
	return s[0] == '/' || s[0] == '~' || strings.Contains(s, `\`) || len(s) > 2 && s[1] == ':' && s[2] == '/'
}

// importable are the libraries that PEFT 0.21 imports on a config's word
// (get_default_import_allowlist in src/peft/auto.py), and megatron.core, the
// default of megatron_core.
var importable = []string{"diffusers", "lerobot", "megatron-core", "megatron.core", "transformers"}

// imports looks at the fields that PEFT hands to importlib (AD044).
func (l *linter) imports() {
	mapping, _ := l.c.value.Lookup("auto_mapping")
	parent, _ := mapping.Lookup("parent_library")
	megatron, _ := l.c.value.Lookup("megatron_core")
	for _, v := range []strictjson.Value{parent, megatron} {
		known := func(lib string) bool { return v.Text == lib || strings.HasPrefix(v.Text, lib+".") }
		if v.Kind == strictjson.String && v.Text != "" && !slices.ContainsFunc(importable, known) {
			l.warn("AD044", 0, "PEFT is told to import %q", v.Text)
		}
	}
}

// pythonOnly is what Python's re knows and RE2 does not: look-around, back
// references, conditions, atomic groups and possessive quantifiers.
var pythonOnly = regexp.MustCompile(`\(\?(=|!|<=|<!|>|\(|P=)|\\[1-9]|[*+?}]\+`)

// expression judges a regular expression that RE2 did not take (AD033).
func (l *linter) expression(what, text string, err error) {
	switch {
	case err == nil:
	case pythonOnly.MatchString(text):
		l.warn("AD033", rule.Info, "%s %q is a regular expression that only Python reads", what, text)
	default:
		l.warn("AD033", 0, "%s %q is not a regular expression: %v", what, text, err)
	}
}

// names returns what patterns and targets match for a module.
func names(m *adapter.Module) []string {
	if len(m.Candidates) == 0 {
		return []string{peftPatternName(m)}
	}
	var all []string
	for _, p := range m.Candidates {
		all = append(all, m.Path+"."+p)
	}
	return all
}

// modules looks at the modules and at the fields that name them.
func (l *linter) modules() {
	l.dtypes()
	l.spelling()
	l.targets()
	for _, p := range []struct {
		id    rule.ID
		field string
		keys  patterns
	}{{"AD032", "rank_pattern", l.c.rankPattern}, {"AD034", "alpha_pattern", l.c.alphaPattern}} {
		if l.tooMany(len(p.keys)) {
			continue
		}
		for _, key := range p.keys {
			if key.re != nil && !l.anyName(key.matches) {
				l.warn(p.id, 0, "%s has a key %q that matches no module", p.field, key.key)
			}
		}
	}
	l.olderAlphas()
	l.each("AD038", func(m *adapter.Module) string {
		if s := m.Scaling(); !(s > 0 && s <= 1e4) {
			return fmt.Sprintf("scaling %g, from alpha %g and rank %d", s, m.Alpha, m.Rank)
		}
		return ""
	})
	l.each("AD040", func(m *adapter.Module) string {
		if out, in := m.B.Shape[0], m.A.Elements()/max(m.A.Shape[0], 1); m.Kind != adapter.Stack && m.Rank > min(out, in) {
			return fmt.Sprintf("rank %d for a weight of %d×%d", m.Rank, out, in)
		}
		return ""
	})
}

// maxPairs bounds how many names are held against how many modules. No real
// adapter comes near.
const maxPairs = 10_000_000

func (l *linter) tooMany(keys int) bool { return keys*len(l.a.Modules) > maxPairs }

func (l *linter) anyName(match func(string) bool) bool {
	return slices.ContainsFunc(l.a.Modules, func(m *adapter.Module) bool { return slices.ContainsFunc(names(m), match) }) ||
		slices.ContainsFunc(l.c.left, match)
}

// each reports the first module that a check finds fault with, and how many
// more there are.
func (l *linter) each(id rule.ID, check func(*adapter.Module) string) {
	var first *rule.Error
	n := 0
	for _, m := range l.a.Modules {
		if what := check(m); what != "" {
			if n++; first == nil {
				first = &rule.Error{File: l.a.Source, Tensor: m.A.Name, Rule: id, Err: errors.New(what)}
			}
		}
	}
	if first == nil {
		return
	}
	if n > 1 {
		first.Err = fmt.Errorf("%w, and %d more modules", first.Err, n-1)
	}
	l.found = append(l.found, first)
}

// spelling finds the names of a raw training state (AD024).
func (l *linter) spelling() {
	var first *rule.Error
	n := 0
	for _, t := range l.weights.Header().Tensors() {
		k, what := splitPEFTKey(t.Name), ""
		switch {
		case k.adapter != "":
			what = fmt.Sprintf("the name of the adapter, %q, is in the name", k.adapter)
		case !strings.HasPrefix(t.Name, peftPrefix):
			what = "the name does not begin with " + peftPrefix
		case unwrap(t.Name) != t.Name:
			what = "a wrapper of the training is in the name"
		default:
			continue
		}
		if n++; first == nil {
			first = &rule.Error{File: l.a.Source, Tensor: t.Name, Rule: "AD024", Err: errors.New(what)}
		}
	}
	if n > 1 {
		first.Err = fmt.Errorf("%w, and so in %d more tensors", first.Err, n-1)
	}
	if first != nil {
		l.found = append(l.found, first)
	}
}

func (l *linter) dtypes() {
	if len(l.a.Modules) == 0 {
		return
	}
	first := l.a.Modules[0].A.DType
	l.each("AD016", func(m *adapter.Module) string {
		if m.A.DType != first || m.B.DType != first {
			return fmt.Sprintf("A is %v and B is %v, others are %v", m.A.DType, m.B.DType, first)
		}
		return ""
	})
}

// targets holds target_modules against the modules, as PEFT matches them
// (check_target_module_exists in src/peft/tuners/tuners_utils.py): a string is
// a regular expression for the whole path, an entry of a list a path or its
// end (AD021, AD022).
func (l *linter) targets() {
	v, _ := l.c.value.Lookup("target_modules")
	if l.tooMany(len(v.Elements)) {
		return
	}
	var match []func(string) bool
	switch {
	case v.Kind == strictjson.String && strings.EqualFold(v.Text, "all-linear"), v.Kind == strictjson.Null:
		return
	case v.Kind == strictjson.String:
		re, err := compilePython(v.Text)
		if l.expression("target_modules", v.Text, err); err != nil {
			return
		}
		match = append(match, re.MatchString)
	}
	for _, e := range v.Elements {
		entry := e.Text
		match = append(match, func(name string) bool { return name == entry || strings.HasSuffix(name, "."+entry) })
		if !l.anyName(match[len(match)-1]) {
			l.warn("AD021", 0, "target_modules names %q, and the file has no such module", entry)
		}
	}
	if len(match) == 0 {
		return
	}
	l.each("AD022", func(m *adapter.Module) string {
		for _, is := range match {
			if len(m.Candidates) > 0 {
				return ""
			}
			if !slices.ContainsFunc(names(m), is) {
				continue
			}
			exact := slices.ContainsFunc(v.Elements, func(e strictjson.Value) bool { return e.Text == m.Path })
			if why := l.c.narrow.drops(m.Path, exact); why != "" {
				return fmt.Sprintf("module %q is not adapted: %s", m.Path, why)
			}
			return ""
		}
		return fmt.Sprintf("module %q is not among target_modules", m.Path)
	})
}

// heads are the names that PEFT adds to modules_to_save for classifiers, of
// which a model has one.
var heads = []string{"classifier", "score"}

// replacements holds modules_to_save against the tensors (AD037), and finds
// tensors that nothing asks for (AD020).
func (l *linter) replacements() {
	found := func(entry string) bool { return saves(entry, l.a.Replacements) }
	if len(l.c.saved)*len(l.a.Replacements) > maxPairs {
		return
	}
	for _, entry := range l.c.saved {
		other := slices.Contains(heads, entry) && slices.ContainsFunc(heads, found)
		if !other && !found(entry) {
			l.warn("AD037", 0, "modules_to_save names %q, and the file has no such tensor", entry)
		}
	}
	adapted := map[string]bool{}
	for _, m := range l.a.Modules {
		adapted[m.Path] = m.Param == "" && len(m.Candidates) == 0
	}
	for _, r := range l.a.Replacements {
		path := strings.TrimSuffix(r.Name, ".weight")
		if adapted[path] && path != r.Name {
			l.found = append(l.found, &rule.Error{File: l.a.Source, Tensor: r.Value.Name, Rule: "AD020",
				Err: errors.New("a replacement for a weight that is adapted too: PEFT drops it")})
			continue
		}
		head := slices.ContainsFunc(heads, func(h string) bool { return strings.Contains("."+path+".", "."+h+".") })
		if r.Reason == "embedding" && !adapter.IsEmbedding(path) && !adapter.IsHead(path) && !head {
			l.found = append(l.found, &rule.Error{File: l.a.Source, Tensor: r.Value.Name, Rule: "AD020",
				Err: errors.New("not a part of a LoRA module, and the config names no module to save that it belongs to")})
		}
	}
}
