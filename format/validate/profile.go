package validate

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
)

// A Profile says what one program that serves adapters accepts.
type Profile struct {
	Name    string
	Program string // and the version that the facts are of
	Source  string // where they are written
	Limits  []Limit
	// MaxRank is the largest rank that can be served, 0 for any; above EasyRank
	// the program must be started with RankFlag and one of Steps.
	MaxRank, EasyRank int
	RankFlag          string
	Steps             []int
	// OneScale says that the program takes rank and alpha of every module from r
	// and lora_alpha, whatever the patterns say.
	OneScale bool
	// RanksFromTensors says that the program divides one lora_alpha by the rank
	// of each tensor, so that PF006 is about alphas and not about scalings.
	RanksFromTensors bool
	// Saved are the last components of replaced modules that the program can
	// serve all the same.
	Saved []string
	// Fields must be in adapter_config.json and not null; Keys must be there.
	Fields, Keys []string
	// ListTargets says that target_modules must be a list, or all-linear.
	ListTargets bool
	// BarePrefix says that names without base_model.model. are read, too.
	BarePrefix bool
	// Together are pairs of modules of a layer that the program fuses: it does
	// not load the first without the second.
	Together [][2]string
}

// A Limit is one thing that a program refuses or, worse, ignores.
type Limit struct {
	Rule   rule.ID
	Effect string // what the program does, a clause without subject
	Milder rule.Severity
}

// FindProfile returns the profile of that name.
func FindProfile(name string) (*Profile, bool) {
	i := slices.IndexFunc(profiles, func(p Profile) bool { return p.Name == name })
	if i < 0 {
		return nil, false
	}
	return &profiles[i], true
}

// Profiles returns all profiles.
func Profiles() []Profile { return profiles }

// profile holds an adapter against Options.Profile.
func (c *collector) profile(f *dialect.File) {
	p := c.o.Profile
	c.easyRank(f)
	for _, l := range p.Limits {
		if tensor, what := broken(p, l.Rule, f); what != "" {
			c.add(&rule.Error{File: f.Source, Tensor: tensor, Rule: l.Rule, Milder: l.Milder,
				Err: fmt.Errorf("%s: %s %s", what, p.Program, l.Effect)})
		}
	}
}

// easyRank says which option a program needs to serve the largest rank.
func (c *collector) easyRank(f *dialect.File) {
	p, most := c.o.Profile, 0
	for _, m := range f.Modules {
		most = max(most, m.Rank)
	}
	if p.EasyRank == 0 || most <= p.EasyRank || most > p.MaxRank {
		return
	}
	i := slices.IndexFunc(p.Steps, func(n int) bool { return n >= most })
	c.add(&rule.Error{File: f.Source, Rule: "PF001", Milder: rule.Warning,
		Err:  fmt.Errorf("rank %d: %s serves ranks up to %d unless told otherwise", most, p.Program, p.EasyRank),
		Hint: fmt.Sprintf("start it with %s %d", p.RankFlag, p.Steps[i])})
}

// serves reports whether a replacement is a tensor of a module of Saved.
func (p *Profile) serves(name string) bool {
	return slices.ContainsFunc(p.Saved, func(s string) bool {
		return strings.HasSuffix("."+name, "."+s+".weight") || strings.HasSuffix("."+name, "."+s+".bias")
	})
}

// broken says how an adapter breaks a rule about profiles, or "".
func broken(p *Profile, id rule.ID, f *dialect.File) (tensor, what string) {
	switch id {
	case "PF002":
		for _, r := range f.Replacements {
			if r.Reason != "bias" && !p.serves(r.Name) {
				return r.Value.Name, "a replacement for a tensor of the base"
			}
		}
		if len(p.Saved) > 0 {
			return "", unsaved(p, f.Field("modules_to_save"))
		}
	case "PF004":
		for _, r := range f.Replacements {
			if r.Reason == "bias" {
				return r.Value.Name, "a trained bias"
			}
		}
		if b := f.Field("bias"); b != "" && b != `"none"` && b != "null" {
			return "", "bias is " + b
		}
	case "PF007":
		if slices.ContainsFunc(f.Modules, func(m *adapter.Module) bool { return m.Rule == adapter.AlphaOverRootRank }) {
			return "", "use_rslora is set"
		}
	case "PF012":
		if len(f.Tokens) > 0 {
			return f.Tokens[0].Rows.Name, "trained token rows"
		}
	case "PF013":
		return "", missingField(p, f)
	case "PF014":
		for _, t := range f.Weights.Header().Tensors() {
			if !plainName(t.Name, p.BarePrefix) && !slices.ContainsFunc(f.Unused, func(u adapter.Unused) bool { return u.Tensor == t.Name }) {
				return t.Name, "a name that PEFT's save_pretrained does not write"
			}
		}
	case "PF015":
		for _, u := range f.Refusals {
			if strings.Contains(u.What, "init_lora_weights") {
				return "", u.What
			}
		}
	case "PF017":
		if f.FanInFanOut {
			return "", "fan_in_fan_out is set"
		}
	case "PF020":
		return apart(p, f.Adapter)
	case "PF016":
		return gaps(f.Adapter)
	case "PF005", "PF006":
		return uneven(p, id, f)
	default:
		for _, m := range f.Modules {
			if what := brokenModule(p, id, m); what != "" {
				return m.A.Name, what
			}
		}
	}
	return "", ""
}

func brokenModule(p *Profile, id rule.ID, m *adapter.Module) string {
	switch {
	case id == "PF001" && p.MaxRank > 0 && m.Rank > p.MaxRank:
		return fmt.Sprintf("rank %d", m.Rank)
	case id == "PF019" && m.Scaling() != 1:
		return fmt.Sprintf("scaling %g", m.Scaling())
	case id == "PF003" && m.Magnitude != nil:
		return "a DoRA magnitude"
	case id == "PF008" && m.Bias != nil:
		return "a bias of B"
	case id == "PF009" && (m.Kind == adapter.Embedding || adapter.IsEmbedding(m.Path)):
		return "an adapted embedding"
	case id == "PF010" && m.Kind == adapter.Conv:
		return "an adapted convolution"
	case id == "PF011" && (m.Param != "" || len(m.Candidates) > 0):
		return "an adapted parameter that is no weight of a linear layer"
	case id == "PF018" && m.A.DType != dtype.F32 && m.A.DType != dtype.F16 && m.A.DType != dtype.BF16:
		return fmt.Sprintf("dtype %v", m.A.DType)
	}
	return ""
}

// uneven reports the first module whose rank, scaling or alpha is not what the
// program takes for all: that of the config, or else that of the first module.
func uneven(p *Profile, id rule.ID, f *dialect.File) (tensor, what string) {
	if len(f.Modules) == 0 {
		return "", ""
	}
	one := *f.Modules[0]
	if p.OneScale {
		one = f.Plain()
	}
	rank, alpha, scaling := one.Rank, one.Alpha, one.Scaling()/one.Multiplicity
	for _, m := range f.Modules {
		switch {
		case id == "PF005" && m.Rank != rank:
			return m.A.Name, fmt.Sprintf("rank %d beside rank %d", m.Rank, rank)
		case id == "PF006" && p.RanksFromTensors:
			if m.Alpha != alpha {
				return m.A.Name, fmt.Sprintf("alpha %g beside alpha %g", m.Alpha, alpha)
			}
		case id == "PF006" && m.Scaling()/m.Multiplicity != scaling:
			return m.A.Name, fmt.Sprintf("scaling %g beside scaling %g", m.Scaling()/m.Multiplicity, scaling)
		}
	}
	return "", ""
}

// unsaved says which entry of modules_to_save is none of Saved, whether it has
// tensors or not.
func unsaved(p *Profile, field string) string {
	var names []string
	if json.Unmarshal([]byte(field), &names) != nil {
		return ""
	}
	for _, n := range names {
		if !slices.Contains(p.Saved, n) {
			return "modules_to_save names " + strconv.QuoteToASCII(n)
		}
	}
	return ""
}

// missingField says which field the program lacks, or cannot read.
func missingField(p *Profile, f *dialect.File) string {
	for _, field := range p.Fields {
		if v := f.Field(field); v == "" || v == "null" {
			return field + " is missing"
		}
	}
	for _, field := range p.Keys {
		if f.Field(field) == "" {
			return field + " is missing"
		}
	}
	if v := f.Field("target_modules"); p.ListTargets && strings.HasPrefix(v, `"`) && v != `"all-linear"` {
		return "target_modules is a regular expression"
	}
	return ""
}

// apart finds a module that the program does not load without another of its
// layer.
func apart(p *Profile, a *adapter.Adapter) (tensor, what string) {
	have := map[string]bool{}
	for _, m := range a.Modules {
		have[m.Path] = true
	}
	for _, m := range a.Modules {
		before, last, _ := cutLast(m.Path)
		for _, pair := range p.Together {
			if last == pair[0] && !have[before+pair[1]] {
				return m.A.Name, fmt.Sprintf("%s is adapted and %s beside it is not", pair[0], pair[1])
			}
		}
	}
	return "", ""
}

// cutLast cuts a path behind its last dot.
func cutLast(path string) (before, last string, ok bool) {
	i := strings.LastIndexByte(path, '.') + 1
	return path[:i], path[i:], i > 0
}

// plainName reports whether a tensor is named as PEFT names it.
func plainName(name string, bare bool) bool {
	if !bare && !strings.HasPrefix(name, "base_model.model.") {
		return false
	}
	for _, infix := range []string{".lora_A.", ".lora_B."} {
		if _, after, ok := strings.Cut(name, infix); ok && after != "weight" && after != "bias" {
			return false
		}
	}
	return true
}

// gaps finds a type of module that some layers have and others, between the
// first and the last, do not.
func gaps(a *adapter.Adapter) (tensor, what string) {
	layers := map[string]map[int]bool{}
	highest := -1
	for _, m := range a.Modules {
		before, n, after, ok := SplitLayer(m.Path)
		if !ok {
			continue
		}
		key := before + "*" + after
		if layers[key] == nil {
			layers[key] = map[int]bool{}
		}
		layers[key][n] = true
		highest = max(highest, n)
	}
	for _, m := range a.Modules {
		before, _, after, ok := SplitLayer(m.Path)
		if have := layers[before+"*"+after]; ok && len(have) != highest+1 {
			return m.A.Name, fmt.Sprintf("%q is adapted in %d of %d layers", strings.TrimPrefix(after, "."), len(have), highest+1)
		}
	}
	return "", ""
}

// SplitLayer cuts a path at its first number.
func SplitLayer(path string) (before string, n int, after string, ok bool) {
	parts := strings.Split(path, ".")
	for i, p := range parts {
		if _, err := fmt.Sscanf(p, "%d", &n); err == nil && strings.Trim(p, "0123456789") == "" {
			return strings.Join(parts[:i], "."), n, "." + strings.Join(parts[i+1:], "."), true
		}
	}
	return "", 0, "", false
}

// errNoProfile is what an unknown name of a profile means.
var errNoProfile = errors.New("no such profile")

// ParseProfile is FindProfile with an error that names what there is.
func ParseProfile(name string) (*Profile, error) {
	p, ok := FindProfile(name)
	if !ok {
		var names []string
		for _, p := range profiles {
			names = append(names, p.Name)
		}
		return nil, fmt.Errorf("%w as %q: there are %s", errNoProfile, name, strings.Join(names, ", "))
	}
	return p, nil
}

// Limited reports whether the program refuses or misreads what a rule is about.
func (p *Profile) Limited(id rule.ID) bool {
	return slices.ContainsFunc(p.Limits, func(l Limit) bool { return l.Rule == id })
}

// Broken returns the first rule that keeps the program from serving the
// adapter a, which stands for that of f, or nil.
func (p *Profile) Broken(f *dialect.File, a *adapter.Adapter) *rule.Error {
	g, q := *f, *p
	g.Adapter = a
	q.OneScale = false // what is written has the config of its modules
	for _, l := range p.Limits {
		if l.Milder != 0 || l.Rule == "PF013" || l.Rule == "PF014" { // what is written has plain names and fields
			continue
		}
		if tensor, what := broken(&q, l.Rule, &g); what != "" {
			return &rule.Error{File: f.Source, Tensor: tensor, Rule: l.Rule, Err: fmt.Errorf("%s: it %s", what, l.Effect)}
		}
	}
	return nil
}
