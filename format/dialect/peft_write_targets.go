package dialect

import (
	"slices"
	"strconv"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/internal/strictjson"
)

// targets derives target_modules and target_parameters from the modules, and
// removes the fields that would narrow them. Others are parameters without
// factors.
func (w *configWriter) targets(others []string) {
	var modules, parameters, otherModules []string
	for _, name := range others {
		otherModules = append(otherModules, name[:max(0, strings.LastIndexByte(name, '.'))])
	}
	for _, m := range w.a.Modules {
		switch {
		case m.Param != "":
			parameters, otherModules = append(parameters, m.Name()), append(otherModules, m.Path)
		case len(m.Candidates) > 0:
			for _, p := range m.Candidates {
				parameters = append(parameters, m.Path+"."+p)
			}
		default:
			modules, others = append(modules, peftPatternName(m)), append(others, m.Path+".weight")
		}
	}
	w.set("target_modules", jsonStrings(suffixes(modules, 1, otherModules)))
	if len(parameters) > 0 {
		w.set("target_parameters", jsonStrings(suffixes(parameters, 2, others)))
	}
	if _, ok := w.value.Lookup("target_parameters"); ok && len(parameters) == 0 {
		w.set("target_parameters", strictjson.Value{})
	}
	for _, field := range []string{"exclude_modules", "layers_to_transform", "layers_pattern"} {
		if _, ok := w.value.Lookup(field); ok {
			w.set(field, strictjson.Value{})
		}
	}
}

// suffixes shortens names to their last n components, which PEFT matches as
// suffixes, where that names no module that is not there: where every layer,
// counted from 0, has a module of that suffix, and none of the others has it.
// Other names stay whole.
func suffixes(names []string, n int, others []string) []string {
	groups, taken := map[string][]string{}, map[string]bool{}
	for _, name := range others {
		taken[lastComponents(name, n)] = true
	}
	layers := 0
	for _, name := range names {
		last := lastComponents(name, n)
		groups[last] = append(groups[last], name)
		for _, index := range indicesOf(name) {
			layers = max(layers, index+1)
		}
	}
	var out []string
	for last, group := range groups {
		if numeric(lastComponents(last, 1)) || taken[last] || !everyLayer(group, layers) {
			out = append(out, group...)
		} else {
			out = append(out, last)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// everyLayer reports whether names that differ in one index have all of them,
// from 0 on. Names without an index stand for themselves.
func everyLayer(names []string, layers int) bool {
	seen := map[string]map[int]bool{}
	for _, name := range names {
		index := indicesOf(name)
		if len(index) == 0 {
			continue
		}
		if len(index) > 1 {
			return false
		}
		family := strings.ReplaceAll("."+name+".", "."+strconv.Itoa(index[0])+".", ".*.")
		if seen[family] == nil {
			seen[family] = map[int]bool{}
		}
		seen[family][index[0]] = true
	}
	for _, found := range seen {
		if len(found) != layers {
			return false
		}
	}
	return true
}

// indicesOf returns the numbers among the components of a path.
func indicesOf(name string) (index []int) {
	for c := range strings.SplitSeq(name, ".") {
		if n, err := strconv.Atoi(c); err == nil {
			index = append(index, n)
		}
	}
	return index
}

// replacements sets modules_to_save, bias and trainable_token_indices.
func (w *configWriter) replacements() error {
	saved, bias := w.stillSaved(), "none"
	adapted := map[string]bool{}
	for _, m := range w.a.Modules {
		adapted[m.Path] = true
	}
	for _, r := range w.a.Replacements {
		path := r.Name[:max(0, strings.LastIndexByte(r.Name, '.'))]
		switch r.Reason {
		case "bias":
			if bias == "none" && adapted[path] {
				bias = "lora_only"
			} else if !adapted[path] {
				bias = "all"
			}
		case "modules_to_save":
			if !(&peftConfig{saved: saved}).isSaved(r.Name) {
				saved = append(saved, path)
			}
		}
	}
	if bias == "lora_only" && w.old.bias == "all" {
		bias = "all"
	}
	w.set("bias", jsonString(bias))
	if len(saved) > 0 {
		w.set("modules_to_save", jsonStrings(saved))
	} else if len(w.old.saved) > 0 {
		w.set("modules_to_save", strictjson.Value{})
	}
	return w.tokens()
}

// stillSaved returns the entries of modules_to_save that the adapter has
// tensors for. PEFT adds both names of classifier heads where a model has one.
func (w *configWriter) stillSaved() (list []string) {
	found := func(entry string) bool { return saves(entry, w.a.Replacements) }
	for _, entry := range w.old.saved {
		if found(entry) || slices.Contains(heads, entry) && slices.ContainsFunc(heads, found) {
			list = append(list, entry)
		}
	}
	return list
}

// saves reports whether an entry of modules_to_save names one of the tensors.
func saves(entry string, list []adapter.Replacement) bool {
	only := &peftConfig{saved: []string{entry}}
	return slices.ContainsFunc(list, func(r adapter.Replacement) bool { return only.isSaved(r.Name) })
}

// tokens writes the indices of trained rows as they were, or by the last
// component of the embedding's path.
func (w *configWriter) tokens() error {
	field := strictjson.Value{Kind: strictjson.Object}
	hold := true
	for _, t := range w.a.Tokens {
		i := slices.IndexFunc(w.old.tokens, func(o tokenIndices) bool { return o.names(t.Path) })
		hold = hold && i >= 0 && slices.Equal(w.old.tokens[i].rows, t.Indices)
		rows := strictjson.Value{Kind: strictjson.Array}
		for _, n := range t.Indices {
			rows.Elements = append(rows.Elements, jsonNumber(float64(n)))
		}
		field.Members = append(field.Members, strictjson.Member{Name: lastComponents(t.Path, 1), Value: rows})
	}
	switch {
	case len(w.a.Tokens) > 0 && hold:
		return nil
	case len(w.a.Tokens) == 0:
		field = strictjson.Value{}
	}
	for i, m := range field.Members {
		if slices.ContainsFunc(field.Members[:i], func(o strictjson.Member) bool { return o.Name == m.Name }) {
			return unsupported(w.a, "", "trained token rows of two embeddings named %q", m.Name)
		}
	}
	if _, there := w.value.Lookup("trainable_token_indices"); there || len(field.Members) > 0 {
		w.set("trainable_token_indices", field)
	}
	return nil
}
