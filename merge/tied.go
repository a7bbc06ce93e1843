package merge

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/rule"
)

// scaledWhenTied are the model types whose forward pass multiplies the hidden
// states when the head is tied, so that untying changes the function.
var scaledWhenTied = map[string]bool{"t5": true, "longt5": true, "switch_transformers": true, "udop": true, "pix2struct": true, "pop2piano": true}

// aliases are the parameters that the base ties to others.
func (ts *targets) aliases() []adapter.Alias {
	if ts.tied == nil {
		ts.tied = adapter.Aliases(ts.base)
		if ts.tied == nil {
			ts.tied = []adapter.Alias{}
		}
	}
	return ts.tied
}

// alias finds a parameter that the base does not store because it is tied.
func (ts *targets) alias(name string) (adapter.Alias, bool) {
	i := slices.IndexFunc(ts.aliases(), func(a adapter.Alias) bool { return a.Name == name && !a.Stored })
	if i < 0 {
		return adapter.Alias{}, false
	}
	return ts.tied[i], true
}

// tie looks at tied parameters of which the adapters change some: PEFT's
// forward pass uses the others unchanged, so the output stores all of them and
// says in its config that none are tied. Those that all change alike stay tied.
func (ts *targets) tie() error {
	byTensor := map[string][]adapter.Alias{}
	for _, a := range ts.aliases() {
		byTensor[a.Of] = append(byTensor[a.Of], a)
	}
	var alike []string // tensors that change with all that is tied to them
	for _, of := range slices.Sorted(maps.Keys(byTensor)) {
		same, err := ts.tieGroup(of, byTensor[of])
		if err != nil {
			return err
		}
		if same {
			alike = append(alike, of)
		}
	}
	if ts.untie {
		ts.storeAll()
	} else {
		for _, of := range alike {
			ts.keepTied(of, byTensor[of])
		}
	}
	return ts.checkVocabulary()
}

// storeAll makes a tensor of the output of everything that was tied.
func (ts *targets) storeAll() {
	for _, a := range ts.aliases() {
		if ts.byName[a.Name] != nil || a.Stored {
			continue
		}
		t := ts.at(a.Name)
		t.source = a.Of
		if s := ts.byName[a.Of]; s != nil {
			t.rows = s.rows // apply to all that is tied
		}
	}
}

// keepTied leaves out what the tensor stands for.
func (ts *targets) keepTied(of string, group []adapter.Alias) {
	for _, a := range group {
		if !a.Stored {
			ts.drop(a.Name)
		}
	}
	ts.notes = append(ts.notes, fmt.Sprintf("%s and %s change alike and stay tied", of, joinAliases(group)))
}

// tieGroup looks at the parameters that are tied to one tensor, and reports
// whether all of them change alike.
func (ts *targets) tieGroup(of string, group []adapter.Alias) (alike bool, err error) {
	ts.resizeGroup(of, group)
	source := ts.byName[of]
	changes := slices.ContainsFunc(group, func(a adapter.Alias) bool { return ts.byName[a.Name] != nil })
	if source == nil && !changes {
		return false, nil
	}
	if source != nil && len(source.rows) > 0 {
		return false, ts.tieRows(source, group)
	}
	differs := func(a adapter.Alias) bool { return source == nil || !sameChange(source, ts.byName[a.Name]) }
	if !slices.ContainsFunc(group, differs) {
		return true, nil
	}
	return false, ts.untieGroup(of, group, changes)
}

// resizeGroup gives a replacement of another size, from a training with another
// vocabulary, to all that is tied: PEFT saves those it knows by their names.
func (ts *targets) resizeGroup(of string, group []adapter.Alias) {
	shape, _, _ := ts.base.Shape(of)
	members := append([]adapter.Alias{{Name: of, Stored: true}}, group...)
	i := slices.IndexFunc(members, func(a adapter.Alias) bool {
		t := ts.byName[a.Name]
		return t != nil && t.replace != nil && !slices.Equal(t.replace.Value.Shape, shape)
	})
	if i < 0 {
		return
	}
	by := ts.byName[members[i].Name].replace
	for _, a := range members {
		if ts.byName[a.Name] == nil {
			t := ts.at(a.Name)
			t.replace = by
			if !a.Stored {
				t.source = ""
			}
		}
	}
}

// checkVocabulary refuses another size of the vocabulary where a tensor that no
// adapter holds has its size.
func (ts *targets) checkVocabulary() error {
	const bias = "final_logits_bias" // a buffer of BART and its kind
	if _, _, ok := ts.base.Shape(bias); !ok {
		return nil
	}
	for _, name := range ts.names {
		t := ts.byName[name]
		shape, _, ok := ts.base.Shape(name)
		if t.replace != nil && ok && len(shape) == 2 && !slices.Equal(shape, t.replace.Value.Shape) {
			return &rule.Unsupported{File: t.replace.by.Source, What: fmt.Sprintf("%d rows for the %d of tensor %q beside %q", t.replace.Value.Shape[0], shape[0], name, bias),
				Hint: "resize the base's vocabulary first"}
		}
	}
	return nil
}

// tieRows gives trained rows, which apply to all that is tied, to what the
// base stores of it.
func (ts *targets) tieRows(source *target, group []adapter.Alias) error {
	for _, a := range group {
		if ts.byName[a.Name] != nil {
			return &rule.Unsupported{What: fmt.Sprintf("trained token rows of %q beside a change of %q, which is tied to it", source.name, a.Name), Hint: "leave one out with --skip"}
		}
		if a.Stored {
			ts.at(a.Name).rows = source.rows
		}
	}
	return nil
}

// untieGroup notes that parameters are no longer tied, unless that would
// change the function of the model.
func (ts *targets) untieGroup(of string, group []adapter.Alias, changes bool) error {
	names := joinAliases(group)
	tied, said := ts.base.TieWordEmbeddings()
	scaled, _ := ts.base.Setting("scale_decoder_outputs")
	if scaledWhenTied[ts.base.ModelType()] && (tied || !said) && scaled != "false" {
		return &rule.Unsupported{What: fmt.Sprintf("a delta on one side of the tied pair %s and %s of a %s model", of, names, ts.base.ModelType()),
			Hint: "untie the base first, or leave the module out with --skip"}
	}
	if !said && len(ts.base.Architectures()) == 0 && !changes {
		ts.notes = append(ts.notes, fmt.Sprintf("no config.json says whether %s is tied to a head; it is merged as it stands", of))
		return nil
	}
	ts.untie = true
	note := fmt.Sprintf("%s and %s are no longer tied: only one of them changed, or both differently", of, names)
	if len(group) > 1 {
		note = fmt.Sprintf("%s and %s are no longer tied: they did not all change alike", of, names)
	}
	if ts.base.Dir() == "" {
		note += "; the config.json beside the output must say so, tie_word_embeddings false"
	}
	ts.notes = append(ts.notes, note)
	return nil
}

func joinAliases(group []adapter.Alias) string {
	names := make([]string, len(group))
	for i, a := range group {
		names[i] = a.Name
	}
	return strings.Join(names, ", ")
}

func (ts *targets) drop(name string) {
	delete(ts.byName, name)
	ts.names = slices.DeleteFunc(ts.names, func(n string) bool { return n == name })
}

// sameChange reports whether a tensor and a parameter that is tied to it get the
// same values: equal replacements, equal factors, or those of
// ensure_weight_tying, where the head's A is the embedding's Bᵀ and its B the
// embedding's Aᵀ.
func sameChange(source, tied *target) bool {
	if tied == nil {
		return false
	}
	if s, t := source.replace, tied.replace; s != nil && t != nil {
		return sameValue(s.Value, t.Value) && len(source.biases)+len(tied.biases) == 0
	}
	if len(source.updates) != len(tied.updates) || len(source.updates) == 0 || source.replace != nil || tied.replace != nil {
		return false
	}
	for i, s := range source.updates {
		t := tied.updates[i]
		ms, mt := s.update.Module, t.update.Module
		if s.by != t.by || ms.Scaling() != mt.Scaling() || ms.Magnitude != nil || mt.Magnitude != nil || !sameFactors(ms, mt) {
			return false
		}
	}
	return true
}

// sameFactors reports whether two modules have the same delta on one tensor.
func sameFactors(s, t *adapter.Module) bool {
	if s.Kind == t.Kind {
		return sameValue(s.A, t.A) && sameValue(s.B, t.B)
	}
	return isTranspose(s.B, t.A) && isTranspose(s.A, t.B)
}

// sameValue reports whether two tensors are equal, bit for bit.
func sameValue(a, b adapter.Tensor) bool {
	return a.DType == b.DType && slices.Equal(a.Shape, b.Shape) && bytes.Equal(a.Bytes, b.Bytes)
}

// isTranspose reports whether two matrices have each other's elements, bit for
// bit.
func isTranspose(a, b adapter.Tensor) bool {
	if len(a.Shape) != 2 || len(b.Shape) != 2 || a.Shape[0] != b.Shape[1] || a.Shape[1] != b.Shape[0] || a.DType != b.DType {
		return false
	}
	width := a.DType.Bits() / 8
	rows, cols := a.Shape[0], a.Shape[1]
	for i := range rows {
		for j := range cols {
			x, y := (i*cols+j)*width, (j*rows+i)*width
			if !bytes.Equal(a.Bytes[x:x+width], b.Bytes[y:y+width]) {
				return false
			}
		}
	}
	return true
}
