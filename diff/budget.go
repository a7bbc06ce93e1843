package diff

import (
	"context"

	"github.com/loratool/loratool/internal/lowrank"
)

// shareBudget gives every module the rank that lowers the error of the whole
// adapter most for its size. It first finds the leading singular values of all
// modules, with as many as the budget gives on average, doubled, and more for
// those that turn out to need them; the extraction itself finds them again,
// which keeps memory constant.
func (p *ExtractPlan) shareBudget(ctx context.Context, budget int64) error {
	var shared []*job
	perRank := int64(0)
	for _, j := range p.jobs {
		if _, ok := j.rule.Budget(); ok && j.action == factorize {
			shared = append(shared, j)
			perRank += p.cost(j)
		}
	}
	if len(shared) == 0 {
		return nil
	}
	depth, missing := map[*job]int{}, map[*job]int{}
	for _, j := range shared {
		depth[j] = int(min(int64(p.options.MaxRank), 2*budget/perRank+8))
		missing[j] = depth[j]
	}
	for len(missing) > 0 {
		err := p.each(ctx, func(j *job) error {
			if n, ok := missing[j]; ok {
				return p.trial(j, n)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := p.allocate(shared, budget); err != nil {
			return err
		}
		clear(missing)
		for _, j := range shared {
			if r := p.fixed[j.name]; r >= depth[j] && r < min(p.options.MaxRank, j.role.rows, j.role.cols) {
				depth[j] = min(2*depth[j], p.options.MaxRank)
				missing[j] = depth[j]
			}
		}
	}
	return nil
}

// cost returns how many bytes one more rank of a module takes.
func (p *ExtractPlan) cost(j *job) int64 {
	return int64(j.role.planes) * int64(j.role.rows+j.role.cols) * int64(p.options.DType.Bits()/8)
}

// trial finds the n leading singular values of every plane of a tensor.
func (p *ExtractPlan) trial(j *job, n int) error {
	same, err := p.pair.equal(j.match)
	if err != nil || same {
		return err
	}
	t := job{match: j.match, role: j.role}
	planes, _, err := p.planes(&t, lowrank.Fixed(n))
	p.buffers.put(t.buffer)
	j.spectrum = make([]float64, n)
	for _, pl := range planes { // a rank of a stack is one of every expert
		for i, s := range pl.found.sigma()[:pl.found.rank] {
			j.spectrum[i] += float64(s * s)
		}
	}
	j.spectrum = roots(j.spectrum)
	return err
}

// allocate sets the ranks of jobs from their spectra.
func (p *ExtractPlan) allocate(jobs []*job, budget int64) error {
	costs := make([]lowrank.Cost, len(jobs))
	for i, j := range jobs {
		costs[i] = lowrank.Cost{Sigma: j.spectrum, Bytes: p.cost(j)}
	}
	ranks, err := lowrank.Allocate(budget, costs)
	p.fixed = map[string]int{}
	for i, r := range ranks {
		p.fixed[jobs[i].name] = r
	}
	return err
}
