package dialect

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/rule"
)

// module turns the tensors of one module into its canonical form and checks
// their shapes against each other and the config.
func (c *peftConfig) module(a *adapter.Adapter, g *group) error {
	if rows, ok := g.parts[partTokens]; ok {
		if err := c.tokenRows(a, g.path, rows); err != nil {
			return err
		}
		if len(g.parts) == 1 {
			return nil
		}
	}
	m := &adapter.Module{Path: g.path, Multiplicity: 1}
	if err := c.factors(a, g, m); err != nil {
		return err
	}
	c.place(m)
	if err := c.scale(a, m); err != nil {
		return err
	}
	if err := c.extras(a, g, m); err != nil {
		return err
	}
	a.Modules = append(a.Modules, m)
	return nil
}

// factors finds A and B and checks that their shapes fit (AD011–AD015, AD025).
func (c *peftConfig) factors(a *adapter.Adapter, g *group, m *adapter.Module) error {
	pa, pb := partA, partB
	if _, ok := g.parts[partEmbeddingA]; ok {
		pa, pb, m.Kind = partEmbeddingA, partEmbeddingB, adapter.Embedding
	} else if _, ok := g.parts[partEmbeddingB]; ok {
		pa, pb, m.Kind = partEmbeddingA, partEmbeddingB, adapter.Embedding
	}
	A, hasA := g.parts[pa]
	B, hasB := g.parts[pb]
	switch {
	case hasA && !hasB:
		return fault(a, "AD011", A.Name, "A without B")
	case hasB && !hasA:
		return fault(a, "AD011", B.Name, "B without A")
	case !hasA:
		for _, t := range g.parts {
			return fault(a, "AD011", t.Name, "module %q has no A and B", g.path)
		}
	}
	for _, t := range []adapter.Tensor{A, B} {
		if t.Elements() == 0 {
			return &rule.Error{File: a.Source, Tensor: t.Name, Rule: "AD025", Err: fmt.Errorf("empty, shape %v", t.Shape),
				Hint: "it was probably saved under DeepSpeed ZeRO-3 without gathering the weights"}
		}
		if !t.DType.Float() {
			return fault(a, "AD015", t.Name, "dtype %v cannot hold a factor", t.DType)
		}
	}
	m.A, m.B = A, B
	return c.factorShapes(a, m)
}

func (c *peftConfig) factorShapes(a *adapter.Adapter, m *adapter.Module) error {
	A, B := m.A, m.B
	if len(A.Shape) == 2 && len(B.Shape) == 3 && m.Kind == adapter.Linear {
		a.Refusals = append(a.Refusals, &rule.Unsupported{File: a.Source, What: fmt.Sprintf("tensor %q (fused layers of PEFT before 0.3)", B.Name), Hint: "load and save it with loralib first"})
		m.Rank = B.Shape[1]
		return nil
	}
	if len(A.Shape) != len(B.Shape) || len(A.Shape) < 2 || len(A.Shape) > 5 {
		return fault(a, "AD014", A.Name, "shape %v beside B of shape %v, expected two of 2 to 5 dimensions", A.Shape, B.Shape)
	}
	if len(A.Shape) > 2 {
		m.Kind = adapter.Conv
		for _, d := range B.Shape[2:] {
			if d != 1 {
				return fault(a, "AD014", B.Name, "shape %v, expected a kernel of size 1", B.Shape)
			}
		}
	}
	m.Rank = A.Shape[0]
	if B.Shape[1] == m.Rank {
		return nil
	}
	if m.Kind == adapter.Conv && m.Rank%B.Shape[1] == 0 {
		a.Refusals = append(a.Refusals, &rule.Unsupported{File: a.Source, What: fmt.Sprintf("module %q (grouped convolution)", m.Path), Hint: "keep the adapter unmerged: its delta is not a weight of a grouped convolution"})
		return nil
	}
	err := &rule.Error{File: a.Source, Tensor: A.Name, Rule: "AD013", Err: fmt.Errorf("shape %v, but B has shape %v: the ranks differ", A.Shape, B.Shape)}
	if A.Shape[1] == B.Shape[0] {
		err.Hint = "both look transposed"
	}
	return err
}

// place says which parameter of which module the factors belong to, from the
// nesting of PEFT's wrappers (src/peft/tuners/lora/layer.py).
func (c *peftConfig) place(m *adapter.Module) {
	if path, ok := strings.CutSuffix(m.Path, ".base_layer.out_proj"); ok {
		m.Path, m.Multiplicity = path+".out_proj", 2
		return
	}
	for strings.HasSuffix(m.Path, ".base_layer") {
		m.Path = strings.TrimSuffix(m.Path, ".base_layer")
		m.Depth++
	}
	if m.Depth == 0 && c.isTargetModule(m.Path) {
		return
	}
	for _, p := range c.parameters {
		full := m.Path + p[max(strings.LastIndexByte(p, '.'), 0):]
		if !strings.Contains(p, ".") {
			full = m.Path + "." + p
		}
		name := full[len(m.Path)+1:]
		if (full == p || strings.HasSuffix(full, "."+p)) && !slices.Contains(m.Candidates, name) {
			m.Candidates = append(m.Candidates, name)
		}
	}
	if len(m.Candidates) == 1 {
		m.Param = m.Candidates[0]
	}
}

// scale resolves rank and alpha of the module as PEFT does: independently,
// first match in file order.
func (c *peftConfig) scale(a *adapter.Adapter, m *adapter.Module) error {
	if c.rsLoRA {
		m.Rule = adapter.AlphaOverRootRank
	}
	name := strings.TrimSuffix(m.Name(), ".out_proj")
	if m.Multiplicity == 1 {
		name = m.Name()
	}
	if len(m.Candidates) > 1 {
		return c.scaleCandidates(a, m)
	}
	rank, alpha, err := c.patternsFor(name)
	if err != nil {
		a.Refusals = append(a.Refusals, &rule.Unsupported{File: c.file, What: err.Error(), Hint: "replace it by full module names"})
		return nil
	}
	m.Alpha = alpha
	if len(m.Candidates) > 0 && m.Rank%rank == 0 {
		m.Rank = rank // one expert's share; the base says how many there are
		return nil
	}
	if m.Rank != rank && !c.unread["r"] && !c.unread["rank_pattern"] {
		return fault(a, "AD012", m.A.Name, "shape %v, config says rank %d", m.A.Shape, rank)
	}
	return nil
}

func (c *peftConfig) patternsFor(name string) (rank int, alpha float64, err error) {
	r, err := c.rankPattern.lookup(name, float64(c.r))
	if err != nil {
		return 0, 0, fmt.Errorf("rank_pattern: %w", err)
	}
	if alpha, err = c.alphaPattern.lookup(name, c.alpha); err != nil {
		return 0, 0, fmt.Errorf("alpha_pattern: %w", err)
	}
	return int(r), alpha, nil
}

// scaleCandidates gives every parameter that the module may belong to its rank
// and alpha; only the base tells which of them it is.
func (c *peftConfig) scaleCandidates(a *adapter.Adapter, m *adapter.Module) error {
	same, fits := true, false
	for i, p := range m.Candidates {
		rank, alpha, err := c.patternsFor(m.Path + "." + p)
		if err != nil {
			a.Refusals = append(a.Refusals, &rule.Unsupported{File: c.file, What: err.Error(), Hint: "replace it by full module names"})
			return nil
		}
		m.Scales = append(m.Scales, adapter.Scale{Rank: rank, Alpha: alpha})
		same = same && m.Scales[i] == m.Scales[0]
		fits = fits || m.A.Shape[0]%rank == 0
	}
	if !fits {
		return fault(a, "AD012", m.A.Name, "shape %v, config says rank %d", m.A.Shape, m.Scales[0].Rank)
	}
	m.Rank, m.Alpha = m.Scales[0].Rank, m.Scales[0].Alpha
	if same {
		m.Scales = nil
	}
	return nil
}

// extras attaches the DoRA magnitude and the bias of B (AD031).
func (c *peftConfig) extras(a *adapter.Adapter, g *group, m *adapter.Module) error {
	if t, ok := g.parts[partMagnitude]; ok {
		if !c.dora && !c.unread["use_dora"] {
			c.contradiction(a, "AD031", t.Name, "a DoRA magnitude, but use_dora is not set")
		}
		m.Magnitude = &t
	} else if c.dora {
		return fault(a, "AD031", m.A.Name, "use_dora is set, but module %q has no magnitude", m.Path)
	}
	if t, ok := g.parts[partBias]; ok {
		if !c.loraBias && !c.unread["lora_bias"] {
			c.contradiction(a, "AD020", t.Name, "a bias of B, but lora_bias is not set")
		}
		m.Bias = &t
	} else if c.loraBias {
		return fault(a, "AD011", m.B.Name, "lora_bias is set, but module %q has no bias of B", m.Path)
	}
	for _, t := range []*adapter.Tensor{m.Magnitude, m.Bias} {
		if t != nil && !t.DType.Float() {
			return fault(a, "AD015", t.Name, "dtype %v cannot hold trained values", t.DType)
		}
	}
	return nil
}

// contradiction notes a tensor that PEFT drops without a word, because the
// config does not ask for it. Whoever applies the adapter must know which of
// the two is meant.
func (c *peftConfig) contradiction(a *adapter.Adapter, id rule.ID, tensor, what string) {
	a.Warnings = append(a.Warnings, &rule.Error{File: a.Source, Tensor: tensor, Rule: id, Milder: rule.Warning, Err: errors.New(what)})
	a.Refusals = append(a.Refusals, &rule.Unsupported{File: a.Source, Rule: id, What: fmt.Sprintf("tensor %q (%s)", tensor, what),
		Hint: "correct the config, or remove the tensor"})
}

// tokenRows attaches trained rows to their indices, which only the config has.
func (c *peftConfig) tokenRows(a *adapter.Adapter, path string, rows adapter.Tensor) error {
	i := slices.IndexFunc(c.tokens, func(t tokenIndices) bool { return t.names(path) })
	if i < 0 { // PEFT compares ends without regard to components
		i = slices.IndexFunc(c.tokens, func(t tokenIndices) bool { return strings.HasSuffix(path, t.module) })
	}
	if i < 0 {
		return fault(a, "AD046", rows.Name, "trained token rows, but trainable_token_indices does not name %q", path)
	}
	t := adapter.TokenRows{Path: path, Indices: c.tokens[i].rows, Rows: rows}
	if len(rows.Shape) != 2 || rows.Shape[0] != len(t.Indices) {
		return fault(a, "AD046", rows.Name, "shape %v, config lists %d rows", rows.Shape, len(t.Indices))
	}
	seen := make(map[int]bool, len(t.Indices))
	for _, row := range t.Indices {
		if seen[row] {
			return fault(a, "AD046", rows.Name, "config lists row %d twice", row)
		}
		seen[row] = true
	}
	if !rows.DType.Float() {
		return fault(a, "AD015", rows.Name, "dtype %v cannot hold trained values", rows.DType)
	}
	a.Tokens = append(a.Tokens, t)
	return nil
}

// replacement says why a tensor without LoRA marker is in the file.
func (c *peftConfig) replacement(a *adapter.Adapter, r adapter.Replacement) {
	switch {
	case c.isSaved(r.Name):
		r.Reason = "modules_to_save"
	case strings.HasSuffix(r.Name, "bias") && c.bias != "none":
		r.Reason = "bias"
	case strings.HasSuffix(r.Name, ".weight"):
		r.Reason = "embedding" // save_embedding_layers, or a head that task_type saves
	default:
		a.Warnings = append(a.Warnings, &rule.Error{File: a.Source, Tensor: r.Value.Name, Rule: "AD020",
			Err: fmt.Errorf("not a part of a LoRA module, and the config names no module to save that it belongs to")})
	}
	a.Replacements = append(a.Replacements, r)
}

// isSaved matches modules_to_save as PEFT does: whole components of the path.
func (c *peftConfig) isSaved(name string) bool {
	for _, s := range c.saved {
		if strings.Contains("."+name+".", "."+s+".") {
			return true
		}
	}
	return false
}
