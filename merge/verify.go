package merge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/mmap"
)

// A Verdict says how a tensor of a checkpoint relates to a merge.
type Verdict string

// Verdicts, from the strongest proof on.
const (
	Exact           Verdict = "exact"      // the correctly rounded sum, every bit
	StochasticExact Verdict = "stochastic" // stochastically rounded with the seed, every bit
	PEFT            Verdict = "peft"       // what PEFT's float32 arithmetic may give
	Neighbour       Verdict = "neighbour"  // each element is a neighbour of the exact sum, on average unbiased
	WithinULP       Verdict = "ulp"        // each element is near the correctly rounded sum
	OtherWeight     Verdict = "weight"     // merged with another weight
	Unmerged        Verdict = "base"       // the base, unchanged
	NotMerged       Verdict = "not"        // nothing of these
	Missing         Verdict = "missing"    // there is no such tensor, or it has another shape or dtype
	Untouched       Verdict = "untouched"  // a tensor that the adapters leave alone, and so it is
	Altered         Verdict = "altered"    // a tensor that the adapters leave alone, and it is not as in the base
)

// Holds reports whether a verdict says that the tensor is what a merge makes.
func (v Verdict) Holds() bool {
	return slices.Contains([]Verdict{Exact, StochasticExact, PEFT, Neighbour, WithinULP, Untouched}, v)
}

// VerifyOptions change what Verify looks for.
type VerifyOptions struct {
	Seed     *uint64 // of stochastic rounding; nil: that of the sidecar, if there is one
	Skip     []string
	Names    adapter.Rules     // as Options.Names
	Progress func(bytes int64) // as Options.Progress, of bytes of the checkpoint; may be nil
}

// A VerifyReport says whether a checkpoint contains adapters.
type VerifyReport struct {
	Contains bool             `json:"contains"`
	Counts   map[Verdict]int  `json:"verdicts"`
	Tensors  []VerifiedTensor `json:"tensors"`
	Extra    []string         `json:"extra,omitempty"` // tensors that neither base nor adapters have
	Warnings []string         `json:"warnings,omitempty"`
}

// A VerifiedTensor is a tensor of the checkpoint.
type VerifiedTensor struct {
	Name      string  `json:"name"`
	Verdict   Verdict `json:"verdict"`
	Detail    string  `json:"detail,omitempty"`
	Elements  int     `json:"elements"`
	Differing int     `json:"differing"`          // elements that are not the correctly rounded sum
	ULP       int64   `json:"ulp,omitempty"`      // the farthest of them, in steps of the dtype
	Weight    float64 `json:"weight,omitempty"`   // factor on all weights, where it is not 1
	Fitted    float64 `json:"fitted,omitempty"`   // ⟨M − W, ΔW⟩/‖ΔW‖², the factor by least squares
	Residual  float64 `json:"residual,omitempty"` // ‖M − W − fitted·ΔW‖/‖ΔW‖
}

// Verify finds out for every tensor of merged how it comes from base and
// adapters. It reads everything once, and once more the tensors that are not
// the correctly rounded sum.
func Verify(ctx context.Context, base, merged *checkpoint.Checkpoint, adapters []Weighted, o VerifyOptions) (*VerifyReport, error) {
	options := Options{Skip: o.Skip, Names: o.Names, DType: convertedTo(base, merged), AddMissing: true}
	seed, err := verifySeed(merged, o)
	if err != nil {
		return nil, err
	}
	plan, err := NewPlan(base, adapters, options)
	if err != nil {
		return nil, err
	}
	v := &verifier{base: base, merged: merged, adapters: adapters, options: options, progress: o.Progress, w: &writer{}}
	if v.progress == nil {
		v.progress = func(int64) {}
	}
	if err := v.collect(plan); err != nil {
		return nil, err
	}
	if seed != nil {
		options.Rounding, options.Seed = Stochastic, *seed
		if plan, err = NewPlan(base, adapters, options); err != nil {
			return nil, err
		}
		v.addSeeded(plan)
	}
	if err := v.run(ctx); err != nil {
		return nil, err
	}
	if err := v.unchanged(); err != nil {
		return nil, err
	}
	return v.report(), nil
}

// unchanged refuses inputs that were written or replaced meanwhile: a verdict
// on them is one on no file that anybody has.
func (v *verifier) unchanged() error {
	for _, c := range []*checkpoint.Checkpoint{v.base, v.merged} {
		if err := c.Unchanged(); err != nil {
			return err
		}
	}
	return unchanged(v.adapters)
}

// convertedTo returns the dtype that a checkpoint's float tensors were
// converted to, or 0.
func convertedTo(base, merged *checkpoint.Checkpoint) dtype.DType {
	for _, name := range base.Names() {
		_, b, _ := base.Lookup(name)
		_, m, ok := merged.Lookup(name)
		if ok && b.DType.Float() && m.DType.Float() && b.DType != m.DType {
			return m.DType
		}
	}
	return 0
}

// verifySeed returns the seed of the options or of the sidecar.
func verifySeed(merged *checkpoint.Checkpoint, o VerifyOptions) (*uint64, error) {
	if o.Seed != nil || merged.Dir() == "" {
		return o.Seed, nil
	}
	data, err := safetensors.ReadRegular(filepath.Join(merged.Dir(), SidecarName), 64<<20)
	if err != nil {
		return nil, nil // of another tool
	}
	var s struct {
		Seed *uint64 `json:"seed"`
	}
	if json.Unmarshal(data, &s) != nil {
		return nil, nil // what it says proves nothing anyway
	}
	return s.Seed, nil
}

// A verifier compares the tensors of a checkpoint with a plan's.
type verifier struct {
	base     *checkpoint.Checkpoint
	merged   *checkpoint.Checkpoint
	adapters []Weighted
	options  Options
	progress func(int64)
	w        *writer
	items    []*verified
	extra    []string
}

// A verified is a tensor in work.
type verified struct {
	VerifiedTensor
	change *change // nil: copied
	weight float64 // of the adapter, if there is only one; else 1
	seeded *change // the same with stochastic rounding
	raw    []byte  // what a copied tensor must be
	bytes  []byte  // of the checkpoint
	lock   sync.Mutex
	first  comparison
	other  comparison // with stochastic rounding; in the end, with another weight
}

// collect lists the tensors that a merge would write.
func (v *verifier) collect(p *Plan) error {
	seen := map[string]bool{}
	for _, f := range p.files {
		for _, t := range f.header.Tensors() {
			seen[t.Name] = true
			x := &verified{VerifiedTensor: VerifiedTensor{Name: t.Name, Verdict: Missing}, weight: 1}
			if len(v.adapters) == 1 && v.adapters[0].Weight != 0 {
				x.weight = v.adapters[0].Weight
			}
			v.items = append(v.items, x)
			shard, m, ok := v.merged.Lookup(t.Name)
			switch {
			case !ok:
				x.Detail = "there is no such tensor"
				continue
			case m.DType != t.DType || !slices.Equal(m.Shape, t.Shape):
				x.Detail = fmt.Sprintf("%v %v, a merge gives %v %v", m.DType, m.Shape, t.DType, t.Shape)
				continue
			}
			s, err := p.segment(t)
			if err != nil {
				return err
			}
			x.Verdict, x.bytes, x.change, x.raw = "", v.merged.Bytes(shard, m), s.change, s.raw
			if t.DType.Bits() >= 8 {
				x.Elements = len(x.bytes) / (t.DType.Bits() / 8)
			}
		}
	}
	for _, name := range v.merged.Names() {
		if !seen[name] {
			v.extra = append(v.extra, name)
		}
	}
	return nil
}

// addSeeded adds the changes of a plan with stochastic rounding.
func (v *verifier) addSeeded(p *Plan) {
	for _, x := range v.items {
		for _, ch := range p.changes {
			if ch.out.Name == x.Name && ch.random != nil {
				x.seeded = ch
			}
		}
	}
}

// verifyElements is how many elements one worker compares at once.
const verifyElements = 1 << 20

// A verifyJob is a run of a tensor that one worker compares.
type verifyJob struct {
	x           *verified
	first, last int // elements; of a copied tensor, bytes
}

func (v *verifier) run(ctx context.Context) error {
	var jobs []verifyJob
	for _, x := range v.items {
		jobs = append(jobs, x.jobs()...)
	}
	if err := v.each(ctx, jobs, v.compare); err != nil {
		return err
	}
	for _, x := range v.items {
		if x.Verdict == "" {
			x.judge()
		}
		if x.Verdict != "" {
			continue
		}
		if err := v.study(ctx, x); err != nil {
			return err
		}
	}
	return v.tryWeights(ctx)
}

// jobs cuts a tensor in runs.
func (x *verified) jobs() (jobs []verifyJob) {
	n, step := len(x.bytes), verifyElements
	if x.change != nil {
		n = x.Elements
	} else {
		step *= 4
	}
	for at := 0; at < n; at += step {
		jobs = append(jobs, verifyJob{x, at, min(at+step, n)})
	}
	return jobs
}

// each does the jobs on all processors.
func (v *verifier) each(ctx context.Context, jobs []verifyJob, do func(k *worker, j verifyJob) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := stopWith(ctx)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(2*runtime.GOMAXPROCS(0), len(jobs)) {
		workers.Go(func() {
			k := newWorker(v.w, stop)
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(jobs) {
					return
				}
				var err error
				if guard := mmap.Guard(func() { err = do(k, jobs[i]) }); guard != nil {
					err = guard
				}
				if err != nil {
					cancel(err)
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// compare holds a run of elements against what a merge makes.
func (v *verifier) compare(k *worker, j verifyJob) error {
	x := j.x
	if x.change == nil {
		if !bytes.Equal(x.bytes[j.first:j.last], x.raw[j.first:j.last]) {
			x.lock.Lock()
			x.Differing++
			x.lock.Unlock()
		}
		v.progress(int64(j.last - j.first))
		return nil
	}
	c, err := v.compareWith(k, x.change, &x.first, j)
	if err != nil {
		return err
	}
	if x.seeded != nil && c.differing > 0 {
		if _, err := v.compareWith(k, x.seeded, &x.other, j); err != nil {
			return err
		}
	}
	v.progress(int64((j.last - j.first) * (x.change.out.DType.Bits() / 8)))
	return nil
}

// compareWith compares a run with one change and adds the result to total.
func (v *verifier) compareWith(k *worker, ch *change, total *comparison, j verifyJob) (comparison, error) {
	j.x.lock.Lock()
	known := *total
	j.x.lock.Unlock()
	c, err := k.compareRun(ch, j.x.bytes, j.first, j.last, known)
	if err != nil {
		return c, err
	}
	j.x.lock.Lock()
	total.merge(c)
	j.x.lock.Unlock()
	return c, nil
}

// judge gives the verdicts that the first reading proves.
func (x *verified) judge() {
	if x.change == nil {
		x.Verdict = Untouched
		if x.Differing > 0 {
			x.Verdict, x.Detail = Altered, "it differs from the base, and no adapter touches it"
		}
		return
	}
	x.Differing, x.ULP = x.first.differing, x.first.ulp
	switch {
	case x.first.differing == 0 && x.change.adapted:
		x.Verdict = Exact
	case x.first.differing == 0:
		x.Verdict = Untouched
	case x.seeded != nil && x.other.differing == 0 && x.other.runs == x.first.unequalRuns:
		x.Verdict = StochasticExact
	case !x.change.adapted:
		x.Verdict, x.Detail = Altered, "it is not the base's tensor in the new dtype, and no adapter touches it"
	case x.first.float32:
		x.Verdict, x.Detail = PEFT, "delta in float32, one rounding"
	}
}

func (v *verifier) report() *VerifyReport {
	r := &VerifyReport{Contains: true, Counts: map[Verdict]int{}, Extra: v.extra}
	for _, x := range v.items {
		r.Counts[x.Verdict]++
		r.Contains = r.Contains && x.Verdict.Holds()
		r.Tensors = append(r.Tensors, x.VerifiedTensor)
	}
	if len(v.extra) > 0 {
		r.Contains = false
		r.Warnings = append(r.Warnings, fmt.Sprintf("%d tensors are neither in the base nor added by an adapter, the first is %q", len(v.extra), v.extra[0]))
	}
	return r
}
