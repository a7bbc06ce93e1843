package train

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
)

// Sampling says how a text is continued. The zero value takes the most likely
// token each time.
type Sampling struct {
	MaxTokens   int     // at most so many are added; 0: as many as the base has room for
	Temperature float64 // 0: the most likely token, of equal ones the first
	TopP        float64 // only the most likely tokens that together have this probability; 0 or 1: all
	Seed        uint64
	Stops       []int32 // tokens that end the text
	// Added, if not nil, is called with each token.
	Added func(token int32) error
}

func (s *Sampling) check() error {
	switch {
	case s.MaxTokens < 0:
		return fmt.Errorf("max-tokens is %d", s.MaxTokens)
	case !(s.Temperature >= 0) || math.IsInf(s.Temperature, 0):
		return fmt.Errorf("temperature is %g, expected at least 0", s.Temperature)
	case !(s.TopP >= 0 && s.TopP <= 1):
		return fmt.Errorf("top-p is %g, expected a share up to 1", s.TopP)
	}
	return nil
}

// Generate continues a prompt of at least one token and returns what it adds,
// without the token that ends the text.
func (m *Model) Generate(ctx context.Context, prompt []int32, o Sampling) (added []int32, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	room := m.Context() - len(prompt)
	if o.MaxTokens > 0 {
		room = min(room, o.MaxTokens)
	}
	if len(prompt) == 0 || room < 0 {
		return nil, fmt.Errorf("prompt of %d tokens, the base takes from 1 to %d", len(prompt), m.Context())
	}
	s, err := m.NewSession(len(prompt) + room)
	if err != nil {
		return nil, err
	}
	random := newStream(o.Seed, streamSample, 0)
	for next := prompt; len(added) < room; {
		if err := context.Cause(ctx); err != nil {
			return added, err
		}
		var logits []float32
		if err := guarded(func() (err error) { logits, err = s.Next(next...); return err }); err != nil {
			return added, err
		}
		token, err := o.choose(logits, random)
		if err != nil || slices.Contains(o.Stops, token) {
			return added, err
		}
		added = append(added, token)
		next = added[len(added)-1:]
		if o.Added != nil {
			if err := o.Added(token); err != nil {
				return added, err
			}
		}
	}
	return added, nil
}

// choose picks a token by its logits.
func (o *Sampling) choose(logits []float32, random *stream) (int32, error) {
	best := 0
	for i, x := range logits {
		if math.IsNaN(float64(x)) {
			return 0, fmt.Errorf("the model gives NaN for token %d", i)
		}
		if x > logits[best] {
			best = i
		}
	}
	if o.Temperature == 0 {
		return int32(best), nil
	}
	weights := make([]float64, len(logits))
	for i, x := range logits {
		weights[i] = math.Exp((float64(x) - float64(logits[best])) / o.Temperature)
	}
	return draw(weights, o.TopP, random), nil
}

// draw picks an index with a probability in proportion to its weight, among
// the heaviest that together have share p of the weight (Holtzman et al. 2020).
func draw(weights []float64, p float64, random *stream) int32 {
	order := make([]int32, len(weights))
	total := 0.0
	for i, w := range weights {
		order[i] = int32(i)
		total += w
	}
	if p > 0 && p < 1 {
		slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(weights[b], weights[a]) })
		kept, n := 0.0, 0
		for n < len(order) && (n == 0 || kept < p*total) {
			kept += weights[order[n]]
			n++
		}
		order, total = order[:n], kept
	}
	at := (float64(random.word()) + 0.5) / (1 << 32) * total
	for _, i := range order {
		if at -= weights[i]; at < 0 {
			return i
		}
	}
	return order[len(order)-1]
}
