// Package dialect reads adapters of other tools into the canonical adapter,
// one file each. It knows names, configs and scales; it computes nothing.
package dialect

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/note"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
)

// Names of the two files of a PEFT adapter (src/peft/utils/constants.py).
const (
	ConfigName  = "adapter_config.json"
	WeightsName = "adapter_model.safetensors"
	pickleName  = "adapter_model.bin"
)

// A File is an open adapter; the tensors of the embedded adapter are views of
// it and end with Close.
type File struct {
	*adapter.Adapter
	Weights *safetensors.File // nil for an adapter type that is only recognised
	Config  []byte            // adapter_config.json as read
	Trained *Trained          // what `loratool train` wrote for another method than LoRA, or nil

	config *peftConfig // nil for an adapter type that is only recognised
}

// Close unmaps the weights.
func (f *File) Close() error {
	if f.Weights == nil {
		return nil
	}
	return f.Weights.Close()
}

// OpenPEFT opens a PEFT adapter: a folder, or its weights file with
// adapter_config.json beside it. A broken rule is a *rule.Error.
func OpenPEFT(path string) (*File, error) { return openPEFT(path, rule.Stop) }

func openPEFT(path string, report rule.Report) (*File, error) {
	folder, weights := path, filepath.Join(path, WeightsName)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		folder, weights = filepath.Dir(path), path
	}
	if strings.HasSuffix(weights, ".bin") || strings.HasSuffix(weights, ".pt") {
		return nil, pickleError(weights)
	}
	config, err := readConfig(folder)
	if e, ok := errors.AsType[*rule.Error](err); ok && e.Rule == "AD001" && !info.IsDir() {
		e.File, e.Err = path, errors.New("no "+ConfigName+" beside it")
	}
	if err != nil {
		return nil, err
	}
	c, err := checkPEFTConfig(filepath.Join(folder, ConfigName), config, report)
	if err != nil {
		return nil, err
	}
	f := &File{Adapter: c.newAdapter(path), Config: config}
	if c.peftType != "LORA" {
		return f, nil
	}
	f.config = c
	if f.Weights, err = openWeights(folder, weights, report); err != nil {
		return nil, err
	}
	if f.Weights == nil {
		return f, nil // it broke a rule, which was reported
	}
	f.Files = []*safetensors.File{f.Weights}
	if err = c.assemble(f.Adapter, f.Weights); err == nil {
		err = f.readNotes(report)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func readConfig(folder string) ([]byte, error) {
	name := filepath.Join(folder, ConfigName)
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		hint := "an adapter is a folder with " + ConfigName + " and " + WeightsName
		if sub, _ := filepath.Glob(filepath.Join(folder, "*", ConfigName)); len(sub) > 0 {
			hint = "there is an adapter in " + rule.Printable(filepath.Dir(sub[0]))
		}
		return nil, &rule.Error{File: folder, Rule: "AD001", Hint: hint, Err: errors.New("no " + ConfigName)}
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxConfigBytes {
		return nil, &rule.Error{File: name, Rule: "AD002", Err: fmt.Errorf("not a regular file of at most %d bytes", maxConfigBytes)}
	}
	return os.ReadFile(name)
}

func openWeights(folder, weights string, report rule.Report) (*safetensors.File, error) {
	f, err := safetensors.Check(weights, report)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	pickle := filepath.Join(folder, pickleName)
	if _, statErr := os.Stat(pickle); statErr == nil {
		return nil, pickleError(pickle)
	}
	return nil, &rule.Error{File: folder, Rule: "AD008", Err: errors.New("no " + WeightsName)}
}

func pickleError(file string) error {
	return &rule.Error{File: file, Rule: "AD009",
		Err:  fmt.Errorf("weights in a pickle, which is never run: %w", rule.ErrUnsupported),
		Hint: "load it with PEFT and save_pretrained(…, safe_serialization=True)"}
}

func (c *peftConfig) newAdapter(path string) *adapter.Adapter {
	return &adapter.Adapter{
		Source: path, Dialect: "peft", Type: c.peftType, Base: c.base, Writer: c.version,
		FanInFanOut: c.fanInFanOut, Init: c.init, Refusals: c.refusals, Warnings: c.warnings,
	}
}

// readNotes reads what the specification adds, and holds lora.modules against
// the config (LT010).
func (f *File) readNotes(report rule.Report) (err error) {
	f.Notes, err = note.Read(f.Source, f.Weights.Header(), report)
	if err != nil {
		return err
	}
	f.Refusals = append(f.Refusals, f.Notes.Refusals...)
	f.Warnings = append(f.Warnings, f.Notes.Warnings...)
	byName := make(map[string]*adapter.Module, len(f.Modules))
	for _, m := range f.Modules {
		byName[m.Name()] = m
	}
	for _, s := range f.Notes.Modules {
		m := byName[s.Module]
		var err error
		switch {
		case m == nil:
			err = fault(f.Adapter, "LT010", "", "%s names module %q, which is not in the file", note.KeyModules, s.Module)
		case m.Rank != s.Rank || m.Alpha != s.Alpha:
			err = fault(f.Adapter, "LT010", m.A.Name, "rank %d and alpha %g, %s says %d and %g", m.Rank, m.Alpha, note.KeyModules, s.Rank, s.Alpha)
		}
		if err := reported(report, err); err != nil {
			return err
		}
	}
	return nil
}

// group collects the tensors of one module.
type group struct {
	path  string
	parts map[keyPart]adapter.Tensor
}

// assemble sorts the tensors of the file into modules, replacements and token
// rows.
func (c *peftConfig) assemble(a *adapter.Adapter, f *safetensors.File) error {
	groups, others, err := c.collect(a, f)
	if err != nil {
		return err
	}
	if err := c.affordable(len(groups)); err != nil {
		return err
	}
	slices.SortFunc(groups, func(x, y *group) int { return cmp.Compare(x.path, y.path) })
	for _, g := range groups {
		n := len(a.Modules)
		if err := c.broken(c.module(a, g)); err != nil {
			return err
		}
		if len(a.Modules) == n {
			c.left = append(c.left, strings.TrimSuffix(g.path, ".base_layer"))
		}
	}
	if err := twice(a); err != nil {
		return err
	}
	for _, r := range others {
		c.replacement(a, r)
	}
	if len(groups)+len(others) == 0 {
		return c.broken(fault(a, "AD026", "", "no LoRA tensors among the %d of the file", len(f.Header().Tensors())))
	}
	hasRows := func(g *group) bool { _, ok := g.parts[partTokens]; return ok }
	lists := func(t tokenIndices) bool { return len(t.rows) > 0 }
	if slices.ContainsFunc(c.tokens, lists) && !slices.ContainsFunc(groups, hasRows) {
		return c.broken(fault(a, "AD046", "", "trainable_token_indices lists rows, and the file has no trained ones"))
	}
	return nil
}

// twice refuses two pairs of factors for one parameter: nested wrappers of
// which the config names too few parameters. (AD023.)
func twice(a *adapter.Adapter) error {
	type place struct {
		name  string
		depth int // tells candidates apart that have no name yet
	}
	seen := map[place]*adapter.Module{}
	for _, m := range a.Modules {
		p := place{name: m.Name()}
		if len(m.Candidates) > 1 {
			p.depth = m.Depth + 1
		}
		if old := seen[p]; old != nil {
			return fault(a, "AD023", m.A.Name, "the same parameter %q as tensor %q", p.name, old.A.Name)
		}
		seen[p] = m
	}
	return nil
}

// collect takes every key of the file apart. Two spellings of one part of a
// module are an error: which one wins would depend on the reader.
func (c *peftConfig) collect(a *adapter.Adapter, f *safetensors.File) (groups []*group, others []adapter.Replacement, err error) {
	byPath := map[string]*group{}
	infixes := map[string]bool{}
	for _, t := range f.Header().Tensors() {
		v := adapter.Tensor{Name: t.Name, DType: t.DType, Shape: t.Shape, Bytes: f.Bytes(t)}
		k := splitPEFTKey(t.Name)
		if k.adapter != "" {
			if infixes[k.adapter] = true; len(infixes) > 1 {
				if err := c.broken(fault(a, "AD047", t.Name, "the file holds several adapters: %s", joinKeys(infixes))); err != nil {
					return nil, nil, err
				}
			}
		}
		switch k.part {
		case partUnused:
			u := adapter.Unused{Tensor: t.Name, Why: k.why, CopyOf: k.copyOf}
			if u.CopyOf != "" {
				u.Value = v
			}
			a.Unused = append(a.Unused, u)
		case partRefused:
			a.Refusals = append(a.Refusals, &rule.Unsupported{File: a.Source, What: fmt.Sprintf("tensor %q (%s)", t.Name, k.why), Hint: "merge it with PEFT"})
		case partOther:
			others = append(others, adapter.Replacement{Name: k.module, Value: v})
		default:
			g := byPath[k.module]
			if g == nil {
				g = &group{path: k.module, parts: map[keyPart]adapter.Tensor{}}
				byPath[k.module] = g
				groups = append(groups, g)
			}
			if old, ok := g.parts[k.part]; ok {
				if err := c.broken(fault(a, "AD023", t.Name, "the same part of module %q as tensor %q", k.module, old.Name)); err != nil {
					return nil, nil, err
				}
				continue
			}
			g.parts[k.part] = v
		}
	}
	return groups, others, nil
}

func joinKeys(set map[string]bool) string {
	keys := make([]string, 0, len(set))
	for k := range set {
		keys = append(keys, fmt.Sprintf("%q", k))
	}
	slices.Sort(keys)
	return strings.Join(keys, ", ")
}

func fault(a *adapter.Adapter, id rule.ID, tensor, format string, args ...any) error {
	return &rule.Error{File: a.Source, Tensor: tensor, Rule: id, Err: fmt.Errorf(format, args...)}
}

// Field returns a field of the config as compact JSON, or "" if it is absent.
func (f *File) Field(name string) string {
	if f.config == nil {
		return ""
	}
	v, ok := f.config.value.Lookup(name)
	if !ok {
		return ""
	}
	return string(v.Append(nil))
}

// Plain returns the rank and scaling that the config gives a module which no
// pattern names, as a module without factors.
func (f *File) Plain() adapter.Module {
	m := adapter.Module{Multiplicity: 1, Rank: 8, Alpha: 8}
	if f.config != nil {
		m.Rank, m.Alpha = f.config.r, f.config.alpha
		if f.config.rsLoRA {
			m.Rule = adapter.AlphaOverRootRank
		}
	}
	return m
}
