package diff

import (
	"fmt"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/internal/mmap"
)

// An ExtractReport accounts for every tensor of the two checkpoints: it is
// unchanged, carried by a module, saved whole, or left out.
type ExtractReport struct {
	Rank      string         `json:"rank"`
	DType     string         `json:"dtype"`
	Seed      uint64         `json:"seed"`
	Carried   float64        `json:"carried"`     // share of ‖change‖² that the adapter carries
	Error     float64        `json:"error"`       // ‖change − adapter‖/‖change‖
	Relative  float64        `json:"relative"`    // ‖change‖/‖W‖ of the tensors that changed
	Noise     float64        `json:"noise_floor"` // expected norm of the rounding noise in the change, by ‖change‖
	Modules   []*Certificate `json:"modules"`
	Saved     []TensorChange `json:"saved,omitempty"`
	LeftOut   []TensorChange `json:"left_out,omitempty"`
	Unchanged int            `json:"unchanged"`
	Twin      string         `json:"tied_head,omitempty"` // modules that repeat the embedding's
	Params    int            `json:"parameters"`
	Bytes     int64          `json:"bytes"`
	Notes     []string       `json:"notes,omitempty"`
	Warnings  []string       `json:"warnings,omitempty"`
}

// A TensorChange is a tensor that differs between two checkpoints.
type TensorChange struct {
	Tensor   string   `json:"tensor"`
	Why      string   `json:"why,omitempty"`
	Relative *float64 `json:"relative,omitempty"` // ‖Δ‖/‖W‖, nil where it has no meaning
	Share    *float64 `json:"share,omitempty"`    // of ‖change‖² over all tensors
}

// assemble makes the adapter and the report of finished jobs.
func (p *ExtractPlan) assemble() (*Extraction, error) {
	o := &p.options
	x := &Extraction{Adapter: &adapter.Adapter{Dialect: "peft", Type: "LORA"}}
	x.Report = ExtractReport{Rank: o.Rank.String(), DType: o.DType.String(), Seed: o.Seed}
	slices.SortFunc(p.jobs, func(a, b *job) int { return compareNames(a.name, b.name) })
	p.saveWhole()
	var change, missed, base, noise float64
	for _, j := range p.jobs {
		if !j.same {
			change, base, noise = change+j.stats.delta2, base+j.stats.base2, noise+j.stats.noise2
		}
	}
	for _, j := range p.jobs {
		switch {
		case j.same:
			x.Report.Unchanged++
		case j.module != nil:
			x.Adapter.Modules = append(x.Adapter.Modules, j.module)
			x.Report.Modules = append(x.Report.Modules, j.cert)
			missed += j.cert.error2
		case j.action == save:
			x.Report.Saved = append(x.Report.Saved, j.change(change))
		default:
			x.Report.LeftOut = append(x.Report.LeftOut, j.change(change))
			missed += j.stats.delta2
		}
		if j.module == nil {
			x.Others = append(x.Others, p.pair.names.name(j.name))
		}
		if j.action == save {
			r, err := p.replacement(j)
			if err != nil {
				return nil, err
			}
			x.Adapter.Replacements = append(x.Adapter.Replacements, r)
		}
	}
	for _, name := range p.pair.Added {
		x.Report.LeftOut = append(x.Report.LeftOut, TensorChange{Tensor: name, Why: "not in the base"})
	}
	for _, name := range p.pair.Removed {
		x.Others = append(x.Others, p.pair.names.name(name))
		x.Report.LeftOut = append(x.Report.LeftOut, TensorChange{Tensor: name, Why: "not in the tuned model"})
	}
	x.Report.Error, x.Report.Relative, x.Report.Noise, x.Report.Carried = ratio(missed, change), ratio(change, base), ratio(noise, change), 1
	if change > 0 {
		x.Report.Carried = 1 - missed/change
	}
	p.addTwins(x)
	nest(x.Adapter.Modules)
	if slices.ContainsFunc(x.Adapter.Modules, func(m *adapter.Module) bool { return m.Kind == adapter.Stack }) {
		x.Config, x.Adapter.Writer = []byte(stackConfig), stackWriter
	}
	p.count(x)
	return x, nil
}

// change describes a tensor without factors, given ‖change‖² in total.
func (j *job) change(total float64) TensorChange {
	c := TensorChange{Tensor: j.name, Why: j.why}
	if !j.stats.unknown && total > 0 {
		share := j.stats.delta2 / total
		c.Relative, c.Share = j.stats.relative(), &share
	}
	return c
}

// saveWhole keeps of the tensors to save those of modules that changed: PEFT
// stores all tensors of a module or none.
func (p *ExtractPlan) saveWhole() {
	changed := map[string]bool{}
	for _, j := range p.jobs {
		if j.action == save && (!j.same && (j.stats.delta2 > 0 || j.stats.unknown)) {
			changed[p.pair.module(j.name)] = true
		}
	}
	for _, j := range p.jobs {
		if j.action == save && !changed[p.pair.module(j.name)] {
			j.same, j.action = true, leave
		}
	}
}

func (p *ExtractPlan) replacement(j *job) (adapter.Replacement, error) {
	v := adapter.Tensor{Name: j.name, DType: j.tuned.DType, Shape: j.tuned.Shape}
	var err error
	if l := j.laid[1]; l != nil {
		err = mmap.Guard(func() { v.Bytes = l.gather() })
	} else {
		v.Bytes = p.pair.tuned.Bytes(j.tunedShard, j.tuned)
	}
	return adapter.Replacement{Name: p.pair.names.name(j.name), Reason: "modules_to_save", Value: v}, err
}

// addTwins repeats the factors of a tied embedding for its head, and for other
// parameters that are tied to it.
func (p *ExtractPlan) addTwins(x *Extraction) {
	var twins []string
	for _, a := range p.pair.twins {
		path, isWeight := strings.CutSuffix(a.Name, ".weight")
		i := slices.IndexFunc(x.Adapter.Modules, func(m *adapter.Module) bool {
			return m.Kind == adapter.Embedding && m.Path+".weight" == p.pair.names.name(a.Of)
		})
		if i < 0 || !isWeight || matches(p.options.Exclude, path) {
			continue
		}
		twins = append(twins, path)
		x.Adapter.Modules = append(x.Adapter.Modules, twin(x.Adapter.Modules[i], path, p.pair.names.embeds(a.Name)))
	}
	x.Report.Twin = strings.Join(twins, ", ")
}

// nest numbers the parameters of one module: PEFT's wrappers nest, the one
// that was registered first innermost.
func nest(modules []*adapter.Module) {
	byPath := map[string][]*adapter.Module{}
	for _, m := range modules {
		if m.Param != "" {
			byPath[m.Path] = append(byPath[m.Path], m)
		}
	}
	for _, group := range byPath {
		adapter.SortRegistered(group)
		for i, m := range group {
			m.Depth = len(group) - 1 - i
		}
	}
}

// count fills in sizes and warnings.
func (p *ExtractPlan) count(x *Extraction) {
	r := &x.Report
	r.Params = x.Adapter.Parameters()
	for _, m := range x.Adapter.Modules {
		r.Bytes += int64(len(m.A.Bytes) + len(m.B.Bytes))
	}
	for _, v := range x.Adapter.Replacements {
		r.Bytes += int64(len(v.Value.Bytes))
	}
	full, parts, stochastic := 0, 0, 0
	for _, c := range r.Modules {
		if _, part := p.pair.names.part(c.Tensor); part {
			parts++
		}
		if c.FullRank {
			full++
		}
		if c.Stochastic {
			stochastic++
		}
	}
	for path := range strings.SplitSeq(r.Twin, ", ") {
		if path != "" {
			r.Notes = append(r.Notes, fmt.Sprintf("%s is tied to the embedding and gets the same factors", path))
		}
	}
	if stochastic > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d modules were rounded stochastically: their noise is larger than that of rounding to nearest", stochastic))
	}
	if parts > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d modules are parts of stacked parameters in transformers 5: they are named as the checkpoint has them, which older versions and servers load and PEFT beside transformers 5 does not", parts))
	}
	if full > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%d of %d modules changed in full rank: factors carry what stands out, up to rank %d (--max-rank), and may be larger than the change", full, len(r.Modules), p.options.MaxRank))
	}
}

// Nothing says why an extraction found no module.
func (r *ExtractReport) Nothing() string {
	if len(r.LeftOut) == 0 {
		return "the two checkpoints are equal"
	}
	return "nothing that factors can carry has changed"
}

// An ExtractSummary says what an extraction would do.
type ExtractSummary struct {
	Tensors int            `json:"tensors"` // that both checkpoints have
	Bytes   int64          `json:"bytes"`   // to compare
	Rank    string         `json:"rank"`
	Modules int            `json:"modules"` // that get factors if they changed
	Saved   int            `json:"saved"`
	LeftOut []TensorChange `json:"left_out,omitempty"` // whether they changed or not
}

// Summary describes the plan.
func (p *ExtractPlan) Summary() ExtractSummary {
	s := ExtractSummary{Tensors: len(p.jobs), Bytes: p.Bytes(), Rank: p.options.Rank.String()}
	for _, j := range p.jobs {
		switch j.action {
		case factorize:
			s.Modules++
		case save:
			s.Saved++
		default:
			s.LeftOut = append(s.LeftOut, TensorChange{Tensor: j.name, Why: j.why})
		}
	}
	return s
}
