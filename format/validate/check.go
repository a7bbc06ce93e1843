package validate

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
)

// check checks one unit.
func check(ctx context.Context, u unit, o Options) Result {
	c := &collector{o: o}
	var err error
	switch u.kind {
	case Adapter:
		err = c.adapter(ctx, u.path)
	case Checkpoint:
		err = c.checkpoint(ctx, u)
	default:
		err = c.file(ctx, u.path)
	}
	if e, ok := errors.AsType[*rule.Error](err); ok {
		c.add(e)
		err = nil
	} else if e, ok := errors.AsType[*rule.Unsupported](err); ok {
		c.refusal(e)
		err = nil
	}
	slices.SortStableFunc(c.findings, func(a, b Finding) int {
		return cmp.Or(order(a.Severity)-order(b.Severity), cmp.Compare(a.Rule, b.Rule))
	})
	path := u.path
	if len(u.only) > 0 {
		path = filepath.Join(path, u.only[0])
	}
	return Result{Path: path, Kind: u.kind, Findings: c.findings, Err: err}
}

// order puts the worst first.
func order(s rule.Severity) int {
	return [...]int{rule.Fatal: 0, rule.Unhandled: 1, rule.Warning: 2, rule.Info: 3, rule.Off: 4}[s]
}

func (c *collector) file(ctx context.Context, path string) error {
	f, err := safetensors.Check(path, c.report)
	if err != nil || f == nil {
		return err
	}
	defer f.Close()
	c.warnings(f.Header().Warnings())
	return c.deep(ctx, []*safetensors.File{f}, nil, nil)
}

func (c *collector) checkpoint(ctx context.Context, u unit) error {
	o := c.o.Open
	o.Report = c.report
	var cp *checkpoint.Checkpoint
	var err error
	if u.only != nil {
		cp, err = checkpoint.OpenFiles(u.path, u.only, o)
	} else {
		cp, err = checkpoint.Open(u.path, o)
	}
	if err != nil {
		return err
	}
	defer cp.Close()
	c.warnings(cp.Warnings())
	var files []*safetensors.File
	for _, s := range cp.Shards() {
		files = append(files, s.File)
	}
	return c.deep(ctx, files, nil, nil)
}

func (c *collector) adapter(ctx context.Context, path string) error {
	f, err := dialect.CheckPEFT(path, c.report)
	if err != nil || f == nil {
		return err
	}
	defer f.Close()
	c.warnings(f.Warnings)
	for _, u := range f.Refusals {
		c.refusal(u)
	}
	if f.Weights == nil {
		return nil
	}
	c.warnings(f.Weights.Header().Warnings())
	if f.Type == "LORA" {
		if err := c.base(ctx, f); err != nil {
			return err
		}
		if c.o.Profile != nil {
			c.profile(f)
		}
	}
	return c.deep(ctx, []*safetensors.File{f.Weights}, f.Adapter, f.Notes)
}
