package merge

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/loratool/loratool/format/binding"
	"github.com/loratool/loratool/internal/publish"
	"github.com/loratool/loratool/internal/text"
)

// Write carries the plan out. The output appears under its name complete or
// not at all; inputs that change meanwhile are an error.
func (p *Plan) Write(ctx context.Context, out string) (*Report, error) {
	if err := p.Check(out); err != nil {
		return nil, err
	}
	if err := p.checkBindings(ctx); err != nil {
		return nil, err
	}
	r := p.Report()
	r.Planned, r.Output, p.total = false, out, Stats{}
	if err := p.suspect(ctx, r); err != nil {
		return nil, err
	}
	rec, err := p.startRecord()
	if err != nil {
		return nil, err
	}
	defer rec.abort()
	if p.base.Dir() == "" {
		err = p.writeFile(ctx, out, r, rec)
	} else {
		err = p.writeFolder(ctx, out, r, rec)
	}
	if err != nil {
		return nil, p.blame(err)
	}
	p.finish(r)
	return r, nil
}

// checkBindings reads the weights that bound adapters adapt and refuses a base
// that they were not trained for. It runs before anything is written.
func (p *Plan) checkBindings(ctx context.Context) error {
	if p.options.AllowBaseMismatch {
		return nil
	}
	for _, a := range p.adapters {
		if err := binding.Check(ctx, a.Adapter, p.base, binding.Options{Names: p.options.Names}); err != nil {
			return err
		}
	}
	return nil
}

// Check refuses an output that is an input, exists, or does not fit on its
// disk, as Write does first.
func (p *Plan) Check(out string) error {
	inputs := append(p.base.Inputs(), sources(p.adapters)...)
	if err := publish.Alias(out, inputs...); err != nil {
		return err
	}
	if err := checkRecord(p.options.Record, out, inputs); err != nil {
		return err
	}
	var needed int64
	for _, f := range p.files {
		needed += f.size
	}
	return checkPlace(out, needed, p.options.Force)
}

// checkPlace refuses an output that exists or does not fit on its disk.
func checkPlace(out string, needed int64, force bool) error {
	if _, err := os.Lstat(out); err == nil && !force {
		if entries, err := os.ReadDir(out); err != nil || len(entries) > 0 {
			return fmt.Errorf("output %q: %w", out, os.ErrExist)
		}
	}
	parent := filepath.Dir(filepath.Clean(out))
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		return fmt.Errorf("output %q: there is no folder %q", out, parent)
	}
	return publish.Require(parent, needed)
}

func sources(adapters []Weighted) (paths []string) {
	for _, a := range adapters {
		paths = append(paths, a.Source)
	}
	return paths
}

// checkRecord refuses a record that is an input, or that replacing the output
// would remove.
func checkRecord(path, out string, inputs []string) error {
	if path == "" {
		return nil
	}
	if err := publish.Alias(path, inputs...); err != nil {
		return err
	}
	record, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	folder, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(folder, record); err == nil && filepath.IsLocal(rel) {
		return fmt.Errorf("record %q lies within the output %q: name a place beside it", path, out)
	}
	return nil
}

func (p *Plan) writeFile(ctx context.Context, out string, r *Report, rec *recorder) error {
	f, err := publish.CreateFile(out, p.options.Force)
	if err != nil {
		return err
	}
	defer f.Abort()
	plan := p.files[0]
	if err := f.Preallocate(plan.size); err != nil {
		return err
	}
	w := &writer{progress: p.progress}
	defer w.close()
	stats, err := p.recordFile(rec, 0, w, func() (map[*change]Stats, error) { return w.file(ctx, f.Handle(), plan.segments) })
	if err != nil {
		return publish.Explain(err, filepath.Dir(out), plan.size)
	}
	p.account(r, stats)
	if err := p.unchanged(); err != nil {
		return err
	}
	return p.commit(ctx, f, rec, r)
}

// unchanged refuses inputs that were written or replaced meanwhile.
func (p *Plan) unchanged() error {
	if err := p.base.Unchanged(); err != nil {
		return err
	}
	return unchanged(p.adapters)
}

func unchanged(adapters []Weighted) error {
	for _, a := range adapters {
		if err := a.Unchanged(); err != nil {
			return err
		}
	}
	return nil
}

// recordFile writes file i of the plan under the eyes of the record, if there
// is one.
func (p *Plan) recordFile(rec *recorder, i int, w *writer, write func() (map[*change]Stats, error)) (map[*change]Stats, error) {
	if rec == nil {
		return write()
	}
	o := rec.observe(i)
	w.observer = o
	stats, err := write()
	if err != nil {
		return nil, err
	}
	return stats, o.finish(p.files[i].name, p.files[i].size)
}

// commit publishes the record and then the output: an output without its
// record could not be undone.
func (p *Plan) commit(ctx context.Context, out interface{ Commit() error }, rec *recorder, r *Report) error {
	if rec != nil {
		size, err := rec.commit(ctx)
		if err != nil {
			return err
		}
		r.Record = &RecordReport{Path: p.options.Record, Bytes: size}
	}
	err := out.Commit()
	if err != nil && rec != nil {
		os.Remove(p.options.Record) // best effort: it belongs to nothing
	}
	return err
}

func (p *Plan) progress(n int64) {
	if p.options.Progress != nil {
		p.options.Progress(n)
	}
}

// account fills the statistics of the changed tensors into the report.
func (p *Plan) account(r *Report, stats map[*change]Stats) {
	for i, ch := range p.changes {
		if s, ok := stats[ch]; ok {
			r.Tensors[i].set(s)
			p.total.merge(s)
		}
	}
}

// finish sums up and warns about what rounding swallowed.
func (p *Plan) finish(r *Report) {
	r.Total.set(p.total)
	if r.Total.Kept < MinKept {
		r.Warnings = append(r.Warnings, fmt.Sprintf("rounding kept %s of the update: use --rounding stochastic, which keeps all of it on average, or a wider --dtype", text.Percent(r.Total.Kept)))
	}
}

func (p *Plan) writeFolder(ctx context.Context, out string, r *Report, rec *recorder) error {
	d, err := publish.CreateDir(out, p.options.Force)
	if err != nil {
		return err
	}
	defer d.Abort()
	w := &writer{progress: p.progress}
	defer w.close()
	for i, f := range p.files {
		if f.clone != "" {
			cloned, err := p.copyShard(ctx, d, f)
			if err != nil {
				return err
			}
			if cloned {
				r.Files[i].How = "cloned"
			}
			if rec != nil {
				if err := rec.clone(ctx, i, f.name); err != nil {
					return err
				}
			}
			continue
		}
		if err := p.writeShard(ctx, d, w, i, r, rec); err != nil {
			return publish.Explain(err, filepath.Dir(out), r.Bytes)
		}
	}
	if err := p.writeOthers(ctx, d, r); err != nil {
		return err
	}
	if rec != nil {
		if err := rec.others(); err != nil {
			return err
		}
	}
	if err := p.unchanged(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	return p.commit(ctx, d, rec, r)
}

func (p *Plan) copyShard(ctx context.Context, d *publish.Dir, f outFile) (cloned bool, err error) {
	path := d.Path(f.name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return false, err
	}
	d.Expect(f.name, f.size)
	return publish.CopyFileContext(ctx, path, f.clone, p.progress)
}

func (p *Plan) writeShard(ctx context.Context, d *publish.Dir, w *writer, i int, r *Report, rec *recorder) error {
	f := p.files[i]
	file, err := d.Create(f.name)
	if err != nil {
		return err
	}
	defer file.Close()
	d.Expect(f.name, f.size)
	if err := publish.Preallocate(file, f.size); err != nil {
		return err
	}
	stats, err := p.recordFile(rec, i, w, func() (map[*change]Stats, error) { return w.file(ctx, file, f.segments) })
	if err != nil {
		return err
	}
	p.account(r, stats)
	return file.Close()
}

// OnProgress sets the callback that Options.Progress sets.
func (p *Plan) OnProgress(f func(bytes int64)) { p.options.Progress = f }
