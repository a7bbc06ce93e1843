package diff

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/adapter/names"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/internal/lowrank"
)

// ExtractOptions say what an extraction keeps. The zero value keeps what is
// above the rounding noise, in float32.
type ExtractOptions struct {
	Rank    lowrank.Rules
	Include []string // patterns of modules or tensors to extract; none means all
	Exclude []string // patterns of modules or tensors to leave out
	Save    []string // patterns of modules to store whole (PEFT's modules_to_save)
	Names   names.Rules
	DType   dtype.DType
	Exact   bool // find all singular values
	Seed    uint64
	MaxRank int // of adaptive rules; 0 means DefaultMaxRank

	Memory   int64 // bytes for deltas at once; 0 means DefaultMemory
	Workers  int   // 0 means all processors
	Progress func(done, total int64)
}

// DefaultMaxRank is the largest rank that adaptive rules give.
const DefaultMaxRank = 256

// DefaultMemory is how many bytes of deltas are kept at once. A larger delta is
// decoded again whenever it is read.
const DefaultMemory = 512 << 20

// An Extraction is an adapter made from two checkpoints, and how good it is.
type Extraction struct {
	Adapter *adapter.Adapter
	Config  []byte   // adapter_config.json to start from, or nil
	Others  []string // parameters of the base, as they are in memory, without factors
	Report  ExtractReport
}

// stackWriter is the version of PEFT whose convention stacks of experts follow:
// which way a square one lies cannot be told from its shape.
const (
	stackWriter = "0.21.2"
	stackConfig = `{"peft_type": "LORA", "peft_version": "` + stackWriter + `"}`
)

func (o *ExtractOptions) setDefaults() {
	if n, ok := o.Rank.Fixed(); ok && n == 0 {
		o.Rank.Rule = lowrank.Auto()
	}
	if o.MaxRank == 0 {
		o.MaxRank = DefaultMaxRank
	}
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if !o.DType.Float() {
		o.DType = dtype.F32
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
}

// Extract finds the adapter that turns base into tuned, as far as factors of
// the rank asked for can. Everything it does not carry is in the report.
func Extract(ctx context.Context, base, tuned *checkpoint.Checkpoint, o ExtractOptions) (*Extraction, error) {
	p, err := PlanExtract(base, tuned, o)
	if err != nil {
		return nil, err
	}
	return p.Run(ctx)
}

// An ExtractPlan says, from headers alone, what an extraction will do.
type ExtractPlan struct {
	pair    *Pair
	options ExtractOptions
	jobs    []*job
	fixed   map[string]int // rank by tensor, once a budget is shared out
	buffers buffers
}

// What is done with a tensor that changed.
type action uint8

const (
	factorize action = iota
	save
	leave
)

// A job is one tensor that both checkpoints have, and what came out of it.
type job struct {
	match
	role   role
	action action
	why    string // of leave
	rule   lowrank.Rule

	buffer   []float32 // memory for a delta
	same     bool
	stats    stats
	spectrum []float64 // of a trial
	module   *adapter.Module
	cert     *Certificate
}

// PlanExtract decides what is done with every tensor.
func PlanExtract(base, tuned *checkpoint.Checkpoint, o ExtractOptions) (*ExtractPlan, error) {
	o.setDefaults()
	pair, err := NewPair(base, tuned, o.Names)
	if err != nil {
		return nil, err
	}
	p := &ExtractPlan{pair: pair, options: o}
	for _, m := range pair.common {
		p.jobs = append(p.jobs, p.plan(m))
	}
	return p, p.checkPatterns()
}

func (p *ExtractPlan) plan(m match) *job {
	o := &p.options
	j := &job{match: m, role: p.pair.role(m)}
	both := []string{m.name, j.role.name()}
	j.rule = o.Rank.Lookup(j.role.name())
	if j.role.why == "" && !m.tuned.DType.Float() {
		j.role.why = "dtype " + m.tuned.DType.String()
	}
	switch {
	case matches(o.Save, append(both, p.pair.module(m.name))...):
		j.action = save
	case matches(o.Exclude, both...), len(o.Include) > 0 && !matches(o.Include, both...):
		j.action, j.why = leave, "excluded"
	case !slices.Equal(m.base.Shape, m.tuned.Shape):
		j.action, j.why = leave, fmt.Sprintf("shape %v became %v", m.base.Shape, m.tuned.Shape)
	case j.role.why != "":
		j.action, j.why = leave, j.role.why
	}
	return j
}

// checkPatterns returns an error if a pattern matches nothing: the user meant
// something.
func (p *ExtractPlan) checkPatterns() error {
	var modules, all []string
	for _, j := range p.jobs {
		all = append(all, j.name, j.role.name(), p.pair.module(j.name))
		if j.role.why == "" {
			modules = append(modules, j.role.name())
		}
	}
	if err := p.options.Rank.Check(modules); err != nil {
		return err
	}
	for _, list := range [][]string{p.options.Include, p.options.Exclude, p.options.Save} {
		for _, pattern := range list {
			if err := lowrank.CheckGlob(pattern, all); err != nil {
				return err
			}
		}
	}
	return nil
}

// Bytes returns how much of the two checkpoints is compared.
func (p *ExtractPlan) Bytes() (n int64) {
	for _, j := range p.jobs {
		n += j.bytes()
	}
	return n
}

// Run does the work: each tensor is read once, unless it is larger than memory.
func (p *ExtractPlan) Run(ctx context.Context) (*Extraction, error) {
	if budget, ok := p.options.Rank.Budget(); ok {
		if err := p.shareBudget(ctx, budget); err != nil {
			return nil, err
		}
	}
	if err := p.each(ctx, p.extract); err != nil {
		return nil, err
	}
	if err := p.pair.unchanged(); err != nil {
		return nil, err
	}
	return p.assemble()
}

// each does work for every job, as many at once as memory and processors
// allow, in the order of the plan, until one fails.
func (p *ExtractPlan) each(outer context.Context, work func(*job) error) error {
	ctx, stop := context.WithCancel(outer)
	defer stop()
	g := newGate(min(p.options.Workers, mostJobs), p.options.Memory)
	errs := make([]error, len(p.jobs))
	total := p.Bytes()
	var done atomic.Int64
	for i, j := range p.jobs {
		size := min(j.memory(), p.options.Memory)
		if err := g.enter(ctx, size); err != nil {
			break
		}
		go func() {
			defer g.leave(size)
			if errs[i] = work(j); errs[i] != nil {
				stop()
			}
			p.buffers.put(j.buffer)
			j.buffer = nil
			p.options.Progress(done.Add(j.bytes()), total)
		}()
	}
	g.wait()
	if outer.Err() != nil {
		return context.Cause(outer)
	}
	return errors.Join(errs...)
}

// mostJobs is how many tensors are worked on at once. More than one keeps the
// processors busy while a small part of one cannot be split.
const mostJobs = 4

// workers returns how many goroutines work on one tensor: no more in total than
// asked for, as long as all jobs run; all of them for one that runs alone.
func (p *ExtractPlan) workers(j *job) int {
	w := p.options.Workers
	if j.memory() >= p.options.Memory {
		return w
	}
	return max(1, w/min(w, mostJobs, int(p.options.Memory/max(1, j.memory()))))
}

// memory returns how many bytes the delta of one plane takes.
func (j *job) memory() int64 { return 4 * int64(j.role.rows) * int64(j.role.cols) }

// extract works on one tensor.
func (p *ExtractPlan) extract(j *job) (err error) {
	if j.same, err = p.pair.equal(j.match); err != nil || j.same {
		return err
	}
	if j.action != factorize {
		return p.measure(j)
	}
	rule := j.rule
	if n, ok := p.fixed[j.name]; ok {
		rule = lowrank.Fixed(n)
		if n == 0 {
			j.action, j.why = leave, "nothing within the budget"
			return p.measure(j)
		}
	}
	planes, rank, err := p.planes(j, rule)
	if err != nil || j.same {
		return err
	}
	if rank == 0 {
		j.action, j.why = leave, "below the rounding noise"
		return nil
	}
	j.module = j.role.module(truncations(planes), rank, j.base.Shape, p.options.DType)
	return p.certify(j, planes)
}

// A plane is the delta of one expert, or of a tensor without experts.
type plane struct {
	source linalg.Source // of the delta, in memory if it fits
	stats  stats
	found  *truncation
}

func truncations(planes []plane) (ts []*truncation) {
	for _, p := range planes {
		ts = append(ts, p.found)
	}
	return ts
}

// planes truncates every plane of a tensor and returns the largest rank, which
// all get: it is the stack's.
func (p *ExtractPlan) planes(j *job, rule lowrank.Rule) (planes []plane, rank int, err error) {
	for e := range j.role.planes {
		pl, err := p.plane(j, e, rule)
		if err != nil {
			return nil, 0, p.fault(j, err)
		}
		j.stats.add(pl.stats)
		planes, rank = append(planes, pl), max(rank, pl.found.rank)
	}
	j.same = j.stats.delta2 == 0
	if rule == lowrank.Auto() {
		return planes, rank, nil // more would be noise
	}
	for e := range planes {
		if planes[e].found.rank < min(rank, j.role.rows, j.role.cols) && planes[e].stats.delta2 > 0 {
			full := planes[e].found.full
			if planes[e], err = p.plane(j, e, lowrank.Fixed(rank)); err != nil {
				return nil, 0, p.fault(j, err)
			}
			planes[e].found.full = full
		}
	}
	return planes, rank, nil
}

// plane truncates one plane of a tensor.
func (p *ExtractPlan) plane(j *job, e int, rule lowrank.Rule) (pl plane, err error) {
	t := truncator{workers: p.workers(j), seed: p.options.Seed, maxRank: p.options.MaxRank, probes: probes, exact: p.options.Exact}
	d := p.pair.delta(j.match, j.role.rows, j.role.cols).plane(e)
	pl.source, t.delta = d, d
	var x []float32
	if j.memory() <= p.options.Memory {
		if j.buffer == nil {
			j.buffer = p.buffers.get(d.rows * d.cols)
		}
		x = j.buffer
		pl.source = linalg.InMemory(linalg.Dense(x, d.rows, d.cols))
	}
	if pl.stats, err = d.load(p.workers(j), x); err != nil {
		return pl, err
	}
	if pl.found, err = t.truncate(pl.source, fmt.Sprintf("%s %d", j.name, e), rule, d.scaled(pl.stats)); err != nil {
		return pl, err
	}
	pl.found.exponent = d.exponent
	if pl.found.stochastic {
		pl.stats.noise2, pl.stats.edge = pl.found.noise2, pl.found.edge
	}
	if j.role.planes > 1 {
		pl.source = d // one plane in memory at a time
	}
	return pl, nil
}

// certify measures what the module misses.
func (p *ExtractPlan) certify(j *job, planes []plane) error {
	j.cert = newCertificate(j.name, j.role, j.base.Shape)
	j.cert.Rank = j.module.Rank
	for e, pl := range planes {
		left, right := written(j.module, j.role, e)
		scale := math.Ldexp(j.module.Scaling(), -pl.found.exponent)
		square, next, err := residual(p.workers(j), pl.source, scale, left, right, pl.found.next())
		if err != nil {
			return p.fault(j, err)
		}
		j.cert.add(pl.stats, pl.found, math.Ldexp(square, 2*pl.found.exponent), math.Ldexp(math.Sqrt(next), pl.found.exponent))
	}
	m, err := MeasureModule(j.module, Options{})
	if err != nil {
		return err
	}
	j.cert.finish(m.Largest)
	return nil
}

// measure looks at a tensor that gets no factors. One that is not to be
// extracted may hold anything.
func (p *ExtractPlan) measure(j *job) error {
	if !j.base.DType.Float() || !j.tuned.DType.Float() || !slices.Equal(j.base.Shape, j.tuned.Shape) {
		j.stats = p.sharedRows(j)
		return nil
	}
	rows, cols := matrix(j.base.Shape)
	s, err := p.pair.delta(j.match, rows, cols).load(p.workers(j), nil)
	if errors.Is(err, errNotFinite) {
		j.why += ", " + err.Error()
		j.stats.unknown = true
		return nil
	}
	j.stats = s
	j.same = err == nil && s.delta2 == 0 && j.action == leave
	return p.fault(j, err)
}

// sharedRows measures the rows that a resized matrix has kept; what the norm of
// any other change of form would be is unknown.
func (p *ExtractPlan) sharedRows(j *job) stats {
	b, t := j.base, j.tuned
	if !b.DType.Float() || !t.DType.Float() || len(b.Shape) != 2 || len(t.Shape) != 2 || b.Shape[1] != t.Shape[1] {
		return stats{unknown: true}
	}
	s, err := p.pair.delta(j.match, min(b.Shape[0], t.Shape[0]), b.Shape[1]).load(p.workers(j), nil)
	if err != nil {
		return stats{unknown: true}
	}
	return s
}

// fault names the tensor of an error.
func (p *ExtractPlan) fault(j *job, err error) error {
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, errNotFinite):
		return fmt.Errorf("tensor %q: %w", j.name, err)
	}
	return &rule.Unsupported{File: p.pair.tuned.Shards()[j.tunedShard].File.Path(), What: fmt.Sprintf("delta of tensor %q, which has %v", j.name, err),
		Hint: "a training that diverged? --exclude leaves the tensor out"}
}
