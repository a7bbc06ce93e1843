package train

import (
	"fmt"
	"math"
)

// A Schedule changes the learning rate over the steps, after the warmup.
type Schedule string

// The schedules of transformers' get_scheduler.
const (
	Linear   Schedule = "linear"   // down to 0
	Cosine   Schedule = "cosine"   // half a wave down to 0
	Constant Schedule = "constant" // no change
)

func (s Schedule) check() error {
	switch s {
	case Linear, Cosine, Constant:
		return nil
	}
	return fmt.Errorf("schedule %q: linear, cosine or constant", s)
}

// warmupSteps returns the steps of the warmup, rounded up as transformers
// does.
func (o *Optimizer) warmupSteps(steps int) int {
	if o.Warmup > 0 {
		return int(math.Ceil(o.Warmup))
	}
	return int(math.Ceil(o.WarmupShare * float64(steps)))
}

// rate returns the learning rate of a step, counted from 0. Like
// transformers, the first step of a warmup has rate 0.
func (o *Optimizer) rate(step, steps int) float64 {
	warmup := o.warmupSteps(steps)
	if step < warmup {
		return o.LR * float64(step) / float64(warmup)
	}
	left, all := float64(steps-step), float64(max(1, steps-warmup))
	switch o.Schedule {
	case Linear:
		return o.LR * max(0, left/all)
	case Cosine:
		return o.LR * max(0, 0.5*(1+math.Cos(math.Pi*float64(step-warmup)/all)))
	}
	return o.LR
}
