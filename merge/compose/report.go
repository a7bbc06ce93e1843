package compose

import (
	"fmt"
	"math"
	"slices"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/internal/lowrank"
)

// A Report says what was composed of what, and how near the result is to what
// the method asks for.
type Report struct {
	Method   Method          `json:"method"`
	Dialect  Dialect         `json:"dialect"`
	Rank     string          `json:"rank,omitempty"` // the rule, if one was given
	Adapters []AdapterReport `json:"adapters"`
	Modules  []ModuleReport  `json:"modules"`
	Dropped  []string        `json:"dropped"` // modules whose delta is zero
	Unused   []string        `json:"unused"`  // tensors of the inputs without effect

	// Identity says that the result is the one adapter there was, with all that
	// belongs to it.
	Identity         bool     `json:"identity,omitempty"`
	Error            float64  `json:"error"` // ‖result − wanted‖/‖wanted‖ of all modules together
	Energy           float64  `json:"energy"`
	ParametersBefore int      `json:"parameters_before"`
	ParametersAfter  int      `json:"parameters_after"`
	BytesBefore      int64    `json:"bytes_before"`
	BytesAfter       int64    `json:"bytes_after"`
	Warnings         []string `json:"warnings"`

	square, errorSquare float64
	zeroBiases          int // modules that got a bias of zeros
}

// An AdapterReport is one input.
type AdapterReport struct {
	Path    string  `json:"path"`
	Weight  float64 `json:"weight"`
	Modules int     `json:"modules"`
}

// A ModuleReport is one module of the result.
type ModuleReport struct {
	Name      string    `json:"name"`
	Kind      string    `json:"kind"`
	Ranks     []int     `json:"ranks"` // in the adapters that have it
	Rank      int       `json:"rank"`  // 0: dropped
	Norm      float64   `json:"norm"`  // of the delta wanted
	Error     float64   `json:"error"` // relative, of the factors as written
	Floor     float64   `json:"noise_floor,omitempty"`
	Sigma     []float64 `json:"singular_values,omitempty"`
	Unchanged bool      `json:"unchanged,omitempty"` // the factors of the input as they are
}

func (c *composition) newReport() *Report {
	r := &Report{Method: c.options.Method, Dialect: c.options.Dialect, Modules: []ModuleReport{}, Dropped: []string{}, Unused: []string{}, Warnings: []string{}}
	if r.Method == "" {
		r.Method = Sum
	}
	if r.Dialect == "" {
		r.Dialect = Paper
	}
	if c.options.Rank != nil {
		r.Rank = c.options.Rank.Rule.String()
	}
	for _, w := range c.adapters {
		r.Adapters = append(r.Adapters, AdapterReport{w.Source, w.Weight, len(w.Modules)})
		r.ParametersBefore += w.Parameters()
		r.BytesBefore += size(w.Adapter)
		for _, u := range w.Unused {
			r.Unused = append(r.Unused, u.Tensor)
		}
	}
	return r
}

// moduleReport makes the report of a group whose result is off by distance.
func (c *composition) moduleReport(g *group, s lowrank.Spectrum, rank int, distance float64) ModuleReport {
	r := ModuleReport{Name: g.name, Kind: g.members[0].Kind.String(), Rank: rank, Norm: math.Sqrt(s.Square), Floor: s.Floor, Sigma: s.Sigma}
	for _, m := range g.members {
		r.Ranks = append(r.Ranks, m.Rank)
	}
	if rank == 0 {
		distance = r.Norm
	}
	if s.Square > 0 {
		r.Error = distance / r.Norm
	}
	return r
}

// add adds a module.
func (r *Report) add(m ModuleReport) {
	r.Modules = append(r.Modules, m)
	if m.Rank == 0 {
		r.Dropped = append(r.Dropped, m.Name)
	}
	r.square += float64(m.Norm * m.Norm)
	e := float64(m.Error * m.Norm)
	r.errorSquare += float64(e * e)
}

// finish computes the totals.
func (r *Report) finish(c *composition, out *adapter.Adapter) {
	r.Energy = 1
	if r.square > 0 {
		r.Error = math.Sqrt(r.errorSquare / r.square)
		r.Energy = max(0, 1-r.errorSquare/r.square)
	}
	r.ParametersAfter = out.Parameters()
	r.BytesAfter = size(out)
	if c.rule.kind == factorwise {
		r.Warnings = append(r.Warnings, "PEFT's rules on A and B by themselves have cross terms: the error is the distance from Σ weight·ΔW")
	}
	if r.zeroBiases > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("lora_bias: PEFT's config gives one to all modules or none, so %d without one got zeros; PEFT itself does not merge those whose layer has no bias", r.zeroBiases))
	}
	if slices.ContainsFunc(c.adapters, func(w Weighted) bool { return w.FanInFanOut != out.FanInFanOut }) {
		r.Warnings = append(r.Warnings, fmt.Sprintf("the adapters differ in fan_in_fan_out, which decides for square weights of an unknown kind of base: the result has that of the first, %v", out.FanInFanOut))
	}
	changed := slices.ContainsFunc(r.Modules, func(m ModuleReport) bool { return !m.Unchanged && m.Error > exactError })
	if changed && slices.ContainsFunc(out.Modules, func(m *adapter.Module) bool { return m.Magnitude != nil }) {
		r.Warnings = append(r.Warnings, "DoRA: every output keeps its magnitude; only its direction has the error of the delta")
	}
}

// exactError is the relative error up to which a delta counts as the same: that
// of factors in float32.
const exactError = 1e-6

// size is the number of bytes of all tensors.
func size(a *adapter.Adapter) (n int64) {
	for _, m := range a.Modules {
		n += int64(len(m.A.Bytes) + len(m.B.Bytes))
		for _, t := range []*adapter.Tensor{m.Magnitude, m.Bias} {
			if t != nil {
				n += int64(len(t.Bytes))
			}
		}
	}
	for _, r := range a.Replacements {
		n += int64(len(r.Value.Bytes))
	}
	for _, t := range a.Tokens {
		n += int64(len(t.Rows.Bytes))
	}
	return n
}
