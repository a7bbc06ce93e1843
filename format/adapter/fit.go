package adapter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter/names"
	"github.com/loratool/loratool/format/rule"
)

// fit decides how the factors of m lie in a place of the base: from the
// shapes, and where both ways fit, from what is known of the model.
func (r *resolver) fit(m *Module, p place) (Update, error) {
	shape := p.Shape
	u := Update{Module: m, Kind: m.Kind, Experts: 1, Rank: m.Rank}
	out, in := m.B.Shape[0], columns(m.A.Shape)
	switch {
	case m.Kind == Conv:
		if !slices.Equal(shape, append([]int{out}, m.A.Shape[1:]...)) || !p.whole() {
			return u, r.misfit(m.A.Name, p.Name, m.A.Shape, shape)
		}
		u.Pieces = []Piece{whole(p.Tensor, out, in)}
	case m.Kind == Embedding:
		if !slices.Equal(shape, []int{in, out}) {
			return u, r.misfit(m.A.Name, p.Name, m.A.Shape, shape)
		}
		u.Pieces = p.pieces(true)
	case len(shape) == 3 && m.Param != "":
		return r.fitStack(m, p)
	default:
		plain, turned := slices.Equal(shape, []int{out, in}), slices.Equal(shape, []int{in, out})
		if !plain && !turned || m.A.Shape[0] != m.Rank {
			return u, r.misfit(m.A.Name, p.Name, []int{out, in}, shape)
		}
		u.Pieces = p.pieces(turned && (!plain || r.squareTransposed(m)))
	}
	if m.Magnitude != nil && slices.ContainsFunc(u.Pieces, func(p Piece) bool { return !r.hasInputs(p, in) }) {
		return u, &rule.Unsupported{File: r.a.Source, Hint: "merge it with PEFT",
			What: fmt.Sprintf("a DoRA magnitude of module %q, whose inputs the base stores in parts (%s)", m.Path, p.how)}
	}
	return u, nil
}

// hasInputs reports whether a piece has all inputs of each of its outputs, and
// nothing else of the tensor does: what the norm of an output needs.
func (r *resolver) hasInputs(p Piece, in int) bool {
	shape, _, _ := r.base.Shape(p.Tensor)
	if len(shape) == 0 || p.Expert >= 0 {
		return false
	}
	inputs, length := p.Col.Len, columns(shape)
	if p.Transposed {
		inputs, length = p.Row.Len, shape[0]
	}
	return p.In == All(in) && inputs == length
}

// columns joins all dimensions of a factor after the first.
func columns(shape []int) int {
	n := 1
	for _, d := range shape[1:] {
		n *= d
	}
	return n
}

// whole is the piece of a module that is a whole tensor.
func whole(tensor string, out, in int) Piece {
	return Piece{Tensor: tensor, Expert: -1, Out: All(out), In: All(in), Row: All(out), Col: All(in)}
}

// pieces lays the module over the blocks of its parameter: outputs along its
// rows, or turned along its columns.
func (p place) pieces(turned bool) []Piece {
	out := make([]Piece, len(p.Blocks))
	for i, b := range p.Blocks {
		out[i] = Piece{Tensor: b.Tensor, Expert: b.Expert, Source: b.Stack, Out: b.Row, In: b.Col, Row: b.DiskRow, Col: b.DiskCol, Transposed: b.Transposed != turned}
		if turned {
			out[i].Out, out[i].In = b.Col, b.Row
		}
	}
	return out
}

// conv1D are the model types of transformers 5 whose linear layers are Conv1D,
// which stores [in, out]; a square weight does not show it.
var conv1D = map[string]bool{"gpt2": true, "openai-gpt": true, "imagegpt": true, "decision_transformer": true, "gpt-sw3": true}

// squareTransposed decides for a square weight whether the base stores it as
// [in, out]. PEFT decides by the class of the layer and ignores a wrong
// fan_in_fan_out, so the model type comes first.
func (r *resolver) squareTransposed(m *Module) bool {
	model := r.base.ModelType()
	if model == "" {
		return r.a.FanInFanOut
	}
	return StoresTransposed(model, m.Path)
}

// StoresTransposed reports whether a model of this type stores the weight of
// the linear module at path as [in, out].
func StoresTransposed(model, path string) bool {
	last := path[strings.LastIndexByte(path, '.')+1:]
	return conv1D[model] && (strings.HasPrefix(last, "c_") || last == "q_attn")
}

// StacksTransposed reports whether a model of this type stores its stacks of
// experts as [experts, in, out].
func StacksTransposed(model string) bool { return names.TransposedExperts(model) }

// fitStack fits factors for one parameter of shape [experts, d1, d2] (PEFT's
// ParamWrapper, src/peft/tuners/lora/layer.py): A is [experts·r, in] with the
// expert outermost, B [out, r·experts] with the expert innermost.
func (r *resolver) fitStack(m *Module, p place) (Update, error) {
	experts, d1, d2 := p.Shape[0], p.Shape[1], p.Shape[2]
	u := Update{Module: m, Kind: Stack, Experts: experts, Rank: m.A.Shape[0] / max(experts, 1)}
	out, in := m.B.Shape[0], m.A.Shape[1]
	plain, turned := out == d1 && in == d2, out == d2 && in == d1
	if experts == 0 || experts > names.MaxExperts || !plain && !turned || m.A.Shape[0]%experts != 0 {
		return u, r.misfit(m.A.Name, p.Name, m.A.Shape, p.Shape)
	}
	if u.Rank != m.Rank {
		return u, fault(r.a, "AD012", m.A.Name, "shape %v for %d experts, config says rank %d", m.A.Shape, experts, m.Rank)
	}
	if plain && turned {
		var known bool
		if turned, known = r.stackTransposed(); !known {
			return u, fault(r.a, "AD027", m.A.Name, "both ways fit the square experts of %q, and neither peft_version nor the base's config.json tells which", p.Name)
		}
	}
	u.Pieces = p.pieces(turned)
	return u, nil
}

// stackTransposed tells for square experts whether ΔW was trained transposed.
// PEFT 0.17 and 0.18 always did, 0.19.0 did for the models that are not
// transposed, later ones for those that are (peft#3165).
func (r *resolver) stackTransposed() (turned, known bool) {
	model, version := r.base.ModelType(), r.a.Writer
	if version == "" {
		return false, false
	}
	switch {
	case strings.HasPrefix(version, "0.17.") || strings.HasPrefix(version, "0.18."):
		return true, true
	case model == "":
		return false, false
	case version == "0.19.0":
		return !names.TransposedExperts(model), true
	}
	return names.TransposedExperts(model), true
}

// nested resolves modules that are wrappers around several parameters of one
// module. PEFT wraps in the order in which the module registered its
// parameters, innermost first, and writes no names
// (src/peft/tuners/tuners_utils.py): the shapes decide, and where they do not,
// the order of the known families.
func (r *resolver) nested() error {
	byPath := map[string][]*Module{}
	var paths []string
	for _, m := range r.wait {
		if byPath[m.Path] == nil {
			paths = append(paths, m.Path)
		}
		byPath[m.Path] = append(byPath[m.Path], m)
	}
	for _, path := range paths {
		if err := r.assign(path, byPath[path]); err != nil {
			return err
		}
	}
	return nil
}

// registration is the order in which the expert modules of transformers
// register parameters that have the same shape.
var registration = []string{"gate_up_proj", "gate_proj", "up_proj", "w1", "w3", "down_proj", "w2"}

// SortRegistered sorts parameters of one module in the order in which the
// module registers them, as far as that is known.
func SortRegistered(modules []*Module) {
	slices.SortStableFunc(modules, func(a, b *Module) int {
		return slices.Index(registration, a.Param) - slices.Index(registration, b.Param)
	})
}

// Registered reports whether it is known in which order a module registers a
// parameter of this name and others.
func Registered(param string) bool { return slices.Contains(registration, param) }

func (r *resolver) assign(path string, modules []*Module) error {
	params, err := r.registered(modules[0])
	if err != nil {
		return err
	}
	slices.SortFunc(modules, func(a, b *Module) int { return b.Depth - a.Depth }) // innermost first
	if len(modules) != len(params) {
		return r.notNested(path, modules, params)
	}
	for n, m := range modules {
		var fits []int
		for _, i := range params {
			c := m.As(i)
			places, err := r.find(c.Name())
			if err != nil {
				return err
			}
			if _, err := r.choose(c, c.Name(), places); err == nil {
				fits = append(fits, i)
			}
		}
		choice := params[n]
		if len(fits) == 1 {
			choice = fits[0]
		} else if !slices.Contains(registration, m.Candidates[choice]) && len(fits) > 1 {
			return fault(r.a, "AD028", m.A.Name, "parameters %q of module %q have one shape, and their order is not known", m.Candidates, path)
		}
		if err := r.module(m.As(choice)); err != nil {
			return err
		}
	}
	return nil
}

// registered lists the candidates of m that the base has, in the order in which
// its module registered them.
func (r *resolver) registered(m *Module) (params []int, err error) {
	for i := range m.Candidates {
		places, err := r.find(m.As(i).Name())
		if err != nil {
			return nil, err
		}
		if len(places) > 0 {
			params = append(params, i)
		}
	}
	slices.SortStableFunc(params, func(i, j int) int {
		return slices.Index(registration, m.Candidates[i]) - slices.Index(registration, m.Candidates[j])
	})
	return params, nil
}

// notNested deals with wrappers that the base has no parameters for, or not as
// many.
func (r *resolver) notNested(path string, modules []*Module, params []int) error {
	if len(params) > 0 {
		return fault(r.a, "AD028", modules[0].A.Name, "module %q has %d pairs of factors for %d target_parameters", path, len(modules), len(params))
	}
	for _, m := range modules {
		r.res.Missing = append(r.res.Missing, Missing{Name: m.Path, Tensor: m.As(0).Name(), What: "module"})
	}
	return nil
}

// Fit lays the module over a given tensor of the base.
func (m *Module) Fit(a *Adapter, base Base, tensor string) (Update, error) {
	r := &resolver{a: a, base: base}
	p, ok := r.exact(tensor)
	if !ok {
		return Update{}, fault(a, "AD028", m.A.Name, "the base has no tensor %q", tensor)
	}
	return r.fit(m, p)
}
