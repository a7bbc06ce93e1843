package dialect

import (
	"cmp"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/internal/strictjson"
)

// peftConfigFor makes the adapter_config.json of a.
func peftConfigFor(a *adapter.Adapter, o WriteOptions) (strictjson.Value, error) {
	old := &peftConfig{r: 8, alpha: 8, bias: "none"}
	config := strictjson.Value{Kind: strictjson.Object}
	if o.Config != nil {
		var err error
		if old, err = parsePEFTConfig(a.Source, o.Config); err != nil {
			return config, err
		}
		config.Members = slices.Clone(old.value.Members)
	}
	w := configWriter{a: a, old: old, value: &config, newRanks: o.NewRanks, keepTargets: o.KeepTargets}
	for _, step := range []func() error{w.switches, w.parameters, w.ranks, w.replacements} {
		if err := step(); err != nil {
			return config, err
		}
	}
	if !o.KeepTargets {
		w.targets(o.Others)
	}
	if o.PlainInit {
		w.plainInit()
	}
	w.defaults()
	slices.SortStableFunc(config.Members, func(x, y strictjson.Member) int { return cmp.Compare(x.Name, y.Name) })
	return config, nil
}

// A configWriter sets the fields that an adapter decides.
type configWriter struct {
	a     *adapter.Adapter
	old   *peftConfig // what the config said before
	value *strictjson.Value

	newRanks    bool // whatever old says
	keepTargets bool
}

func (w *configWriter) set(name string, v strictjson.Value) { setField(w.value, name, v) }

// defaults adds the fields that every adapter of PEFT has, where they are not
// there yet.
func (w *configWriter) defaults() {
	w.set("peft_type", jsonString("LORA"))
	w.set("inference_mode", jsonBool(true))
	if w.a.Base != "" {
		w.set("base_model_name_or_path", jsonString(w.a.Base))
	}
	for _, m := range []strictjson.Member{
		{Name: "base_model_name_or_path"}, {Name: "task_type"}, {Name: "init_lora_weights", Value: jsonBool(true)}, {Name: "lora_dropout", Value: jsonNumber(0)},
	} {
		if _, ok := w.value.Lookup(m.Name); !ok {
			w.set(m.Name, m.Value)
		}
	}
}

// plainInit takes the initialisation out of the config, and what steers it.
func (w *configWriter) plainInit() {
	w.set("init_lora_weights", jsonBool(true))
	w.value.Members = slices.DeleteFunc(w.value.Members, func(m strictjson.Member) bool {
		return slices.Contains([]string{"corda_config", "lora_ga_config", "loftq_config"}, m.Name)
	})
}

// switches sets what PEFT has once for all modules.
func (w *configWriter) switches() error {
	var dora, bias int
	for _, m := range w.a.Modules {
		if m.Magnitude != nil {
			dora++
		}
		if m.Bias != nil {
			bias++
		}
	}
	n := len(w.a.Modules)
	if dora != 0 && dora != n {
		return unsupported(w.a, "write the modules with a DoRA magnitude as an adapter of their own", "a DoRA magnitude for %d of %d modules", dora, n)
	}
	if bias != 0 && bias != n {
		return unsupported(w.a, "write the modules with a bias as an adapter of their own", "a bias of lora_B for %d of %d modules", bias, n)
	}
	if init, _ := w.value.Lookup("init_lora_weights"); bias > 0 && init.Kind == strictjson.String {
		w.set("init_lora_weights", jsonBool(true)) // AD003; it says how training began, not what the factors are
	}
	w.set("use_dora", jsonBool(dora > 0))
	w.set("lora_bias", jsonBool(bias > 0))
	w.set("fan_in_fan_out", jsonBool(w.a.FanInFanOut))
	return nil
}

// parameters takes out what PEFT refuses beside target_parameters although it
// steers training only (ParamWrapper in src/peft/tuners/lora/layer.py).
func (w *configWriter) parameters() error {
	if !slices.ContainsFunc(w.a.Modules, func(m *adapter.Module) bool { return m.Param != "" || len(m.Candidates) > 0 }) {
		return nil
	}
	if w.a.FanInFanOut {
		return unsupported(w.a, "write the parameters as an adapter of their own", "target_parameters beside fan_in_fan_out, which PEFT refuses")
	}
	w.set("lora_dropout", jsonNumber(0))
	w.value.Members = slices.DeleteFunc(w.value.Members, func(m strictjson.Member) bool { return m.Name == "velora_config" })
	return nil
}

// ranks keeps r, lora_alpha and their patterns if they give every module what
// it has, and writes them anew if not.
func (w *configWriter) ranks() error {
	root := !slices.ContainsFunc(w.a.Modules, func(m *adapter.Module) bool { return m.Rule != adapter.AlphaOverRootRank }) && len(w.a.Modules) > 0
	alphas := w.alphas(root)
	kept := !w.newRanks && w.patternsHold(alphas) && w.patternsUsed()
	if root && !kept && !w.oneScale() { // AD041
		root = false
		alphas = w.alphas(root)
	}
	w.set("use_rslora", jsonBool(root))
	if kept {
		w.set("r", jsonNumber(float64(w.old.r)))
		w.set("lora_alpha", jsonNumber(w.old.alpha))
		return nil
	}
	names, ranks := make([]string, len(alphas)), make([]float64, len(alphas))
	for i, m := range w.a.Modules {
		if m.Scales != nil {
			return unsupported(w.a, "name the parameters with the base at hand", "module %q has parameters of several ranks or alphas", m.Path)
		}
		names[i], ranks[i] = peftPatternName(m), float64(m.Rank)
	}
	for _, f := range []struct {
		one, pattern string
		values       []float64
	}{{"r", "rank_pattern", ranks}, {"lora_alpha", "alpha_pattern", alphas}} {
		usual := mostCommon(f.values)
		w.set(f.one, jsonNumber(usual))
		w.set(f.pattern, patternFor(names, f.values, usual))
	}
	return nil
}

// alphas returns the alpha of every module as the config must have it, with
// use_rslora or without.
func (w *configWriter) alphas(root bool) []float64 {
	alphas := make([]float64, len(w.a.Modules))
	for i, m := range w.a.Modules {
		if alphas[i] = m.Alpha; !root && m.Rule == adapter.AlphaOverRootRank {
			alphas[i] = alphaFor(m.Alpha/math.Sqrt(float64(m.Rank)), m.Rank)
		}
	}
	return alphas
}

// oneScale reports whether all modules have one rank and one alpha.
func (w *configWriter) oneScale() bool {
	first := w.a.Modules[0]
	return !slices.ContainsFunc(w.a.Modules, func(m *adapter.Module) bool { return m.Rank != first.Rank || m.Alpha != first.Alpha })
}

// patternsUsed reports whether every key of the patterns as they were still
// matches a module (AD032, AD034), if modules may have been left out.
func (w *configWriter) patternsUsed() bool {
	keys := slices.Concat(w.old.rankPattern, w.old.alphaPattern)
	if w.keepTargets || len(keys)*len(w.a.Modules) > maxPairs {
		return true
	}
	return !slices.ContainsFunc(keys, func(p patternValue) bool {
		return p.re == nil || !slices.ContainsFunc(w.a.Modules, func(m *adapter.Module) bool { return slices.ContainsFunc(names(m), p.matches) })
	})
}

// patternsHold reports whether the config as it was gives every module its
// rank and alpha.
func (w *configWriter) patternsHold(alphas []float64) bool {
	for i, m := range w.a.Modules {
		names := []string{peftPatternName(m)}
		for _, p := range m.Candidates {
			names = append(names, m.Path+"."+p)
		}
		if m.Scales != nil {
			names = names[1:]
		}
		for n, name := range names {
			want := adapter.Scale{Rank: m.Rank, Alpha: alphas[i]}
			if m.Scales != nil {
				want = m.Scales[n]
			}
			rank, alpha, err := w.old.patternsFor(name)
			if err != nil || (adapter.Scale{Rank: rank, Alpha: alpha}) != want {
				return false
			}
		}
	}
	return true
}

// peftPatternName is the name that rank_pattern and alpha_pattern match.
func peftPatternName(m *adapter.Module) string {
	if m.Multiplicity == 2 {
		return strings.TrimSuffix(m.Path, ".out_proj")
	}
	return m.Name()
}

// alphaFor returns α with α/r = s, or the nearest there is: float64 division
// can miss a value by a unit in the last place.
func alphaFor(s float64, rank int) float64 {
	r := float64(rank)
	best := s * r
	for _, a := range []float64{math.Nextafter(best, math.Inf(-1)), math.Nextafter(best, math.Inf(1))} {
		if best/r != s && a/r == s {
			best = a
		}
	}
	return best
}

// mostCommon returns the value that occurs most often, the smallest of them;
// PEFT's default without values.
func mostCommon(values []float64) float64 {
	count, best := map[float64]int{}, 8.0
	for _, v := range values {
		count[v]++
	}
	for v, n := range count {
		if n > count[best] || n == count[best] && v < best {
			best = v
		}
	}
	return best
}

// patternFor makes a rank_pattern or alpha_pattern for the names whose value
// is not the usual one. A last component that has one value everywhere is a
// key of its own; other names are keys in full, anchored and quoted. So no
// name matches two keys of different values, in any order.
func patternFor(names []string, values []float64, usual float64) strictjson.Value {
	byLast := map[string][]float64{}
	for i, name := range names {
		last := lastComponents(name, 1)
		byLast[last] = append(byLast[last], values[i])
	}
	keys := map[string]float64{}
	for i, name := range names {
		if values[i] == usual {
			continue
		}
		last := lastComponents(name, 1)
		key := "^" + regexp.QuoteMeta(name)
		if all := byLast[last]; !numeric(last) && slices.Min(all) == slices.Max(all) {
			key = regexp.QuoteMeta(last)
		}
		keys[key] = values[i]
	}
	v := strictjson.Value{Kind: strictjson.Object}
	for key, x := range keys {
		v.Members = append(v.Members, strictjson.Member{Name: key, Value: jsonNumber(x)})
	}
	slices.SortFunc(v.Members, func(x, y strictjson.Member) int { return cmp.Compare(x.Name, y.Name) })
	return v
}

// numeric reports whether a component is an index. PEFT matches components by
// suffix, so an index alone would match modules everywhere.
func numeric(component string) bool {
	_, err := strconv.Atoi(component)
	return err == nil
}

// lastComponents returns the last n components of a dotted path.
func lastComponents(path string, n int) string {
	parts := strings.Split(path, ".")
	return strings.Join(parts[max(0, len(parts)-n):], ".")
}

func jsonString(s string) strictjson.Value {
	return strictjson.Value{Kind: strictjson.String, Text: s}
}
func jsonBool(b bool) strictjson.Value { return strictjson.Value{Kind: strictjson.Bool, True: b} }

// jsonNumber writes integers without a fraction, as PEFT does.
func jsonNumber(x float64) strictjson.Value {
	text := strconv.FormatFloat(x, 'g', -1, 64)
	if x == math.Trunc(x) && math.Abs(x) < 1<<53 {
		text = strconv.FormatInt(int64(x), 10)
	}
	return strictjson.Value{Kind: strictjson.Number, Text: text}
}

func jsonStrings(list []string) strictjson.Value {
	v := strictjson.Value{Kind: strictjson.Array}
	for _, s := range list {
		v.Elements = append(v.Elements, jsonString(s))
	}
	return v
}
