package diff

import (
	"container/heap"
	"context"
)

// shareBudget gives every module the rank that lowers the error of the whole
// adapter most for its size. It first finds the leading singular values of all
// modules, with as many as the budget gives on average, doubled, and more for
// those that turn out to need them; the extraction itself finds them again,
// which keeps memory constant.
func (p *ExtractPlan) shareBudget(ctx context.Context) error {
	var shared []*job
	perRank := int64(0)
	for _, j := range p.jobs {
		if j.action == factorize && j.rule.Kind == BudgetRank {
			shared = append(shared, j)
			perRank += p.cost(j)
		}
	}
	if len(shared) == 0 {
		return nil
	}
	depth := map[*job]int{}
	for _, j := range shared {
		depth[j] = int(min(int64(p.options.MaxRank), 2*p.options.Rank.Bytes/perRank+8))
	}
	missing := depth
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
		p.fixed = p.greedy(shared)
		missing = map[*job]int{}
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
	t := *j
	planes, _, err := p.planes(&t, RankRule{Kind: FixedRank, N: n})
	j.spectra = nil
	for _, pl := range planes {
		j.spectra = append(j.spectra, pl.found.squares[:pl.found.rank])
	}
	return err
}

// greedy spends the budget on one rank after another, each where it lowers the
// squared error most per byte. As the values of a module descend, that is the
// best there is, up to the last one that does not fit.
func (p *ExtractPlan) greedy(jobs []*job) map[string]int {
	ranks := map[string]int{}
	var queue gains
	for _, j := range jobs {
		ranks[j.name] = 0
		if g := (gain{job: j, bytes: p.cost(j)}); g.next() {
			queue = append(queue, g)
		}
	}
	heap.Init(&queue)
	left := p.options.Rank.Bytes
	for len(queue) > 0 {
		g := queue[0]
		if g.bytes > left {
			heap.Pop(&queue)
			continue
		}
		left -= g.bytes
		ranks[g.job.name] = g.rank
		if g.next() {
			queue[0] = g
			heap.Fix(&queue, 0)
		} else {
			heap.Pop(&queue)
		}
	}
	return ranks
}

// A gain is what the next rank of a module is worth.
type gain struct {
	job   *job
	rank  int // with it
	bytes int64
	worth float64 // decrease of the squared error per byte
}

// next moves on to the next rank, if it is worth anything.
func (g *gain) next() bool {
	g.worth = 0
	for _, s := range g.job.spectra {
		if g.rank < len(s) {
			g.worth += s[g.rank]
		}
	}
	g.worth /= float64(g.bytes)
	g.rank++
	return g.worth > 0
}

// gains is a heap, the largest worth first; of equal ones the first by name.
type gains []gain

func (q gains) Len() int { return len(q) }
func (q gains) Less(i, j int) bool {
	if q[i].worth != q[j].worth {
		return q[i].worth > q[j].worth
	}
	return q[i].job.name < q[j].job.name
}
func (q gains) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *gains) Push(x any)   { *q = append(*q, x.(gain)) }
func (q *gains) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
