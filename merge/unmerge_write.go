package merge

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/loratool/loratool/format/record"
	"github.com/loratool/loratool/internal/publish"
)

// An UnmergeReport says what an unmerge did.
type UnmergeReport struct {
	Output    string `json:"output"`
	Exact     bool   `json:"exact"` // every file has the digest of the base's
	Files     int    `json:"files"`
	Tensors   int    `json:"tensors"`             // that were restored, others were copied
	Elements  int64  `json:"elements"`            // of these
	Uncertain int64  `json:"uncertain,omitempty"` // elements that may be wrong, without a record
	Bytes     int64  `json:"bytes"`
}

// Write restores the base at the path out, a file or a folder as the base was.
// With a record, no byte of an input is used before its digest was compared, and
// the output gets its name only if all inputs and all of its files have theirs.
func (u *Unmerge) Write(ctx context.Context, out string) (*UnmergeReport, error) {
	if err := u.Check(out); err != nil {
		return nil, err
	}
	if u.record != nil {
		if err := checkOthers(u.record, u.merged.Dir()); err != nil {
			return nil, err
		}
	}
	r := &UnmergeReport{Output: out, Exact: u.record != nil, Files: len(u.files), Tensors: len(u.changes)}
	var err error
	if u.base.Dir() == "" {
		err = u.writeFile(ctx, out)
	} else {
		err = u.writeFolder(ctx, out)
	}
	if err != nil {
		return nil, err
	}
	for _, f := range u.files {
		r.Bytes += f.size
	}
	for _, ch := range u.changes {
		r.Elements += int64(ch.planes * ch.rows * ch.cols)
		r.Uncertain += ch.inverse.uncertain.Load()
	}
	return r, nil
}

// Check refuses an output that is an input, exists, or does not fit on its
// disk, as Write does first.
func (u *Unmerge) Check(out string) error {
	if err := publish.Alias(out, u.inputs()...); err != nil {
		return err
	}
	var needed int64
	for _, f := range u.files {
		needed += f.size
	}
	return checkPlace(out, needed, u.options.Force)
}

// inputs returns the paths that an output must not touch.
func (u *Unmerge) inputs() []string {
	inputs := append(u.merged.Inputs(), sources(u.adapters)...)
	if u.record != nil {
		inputs = append(inputs, u.record.Path())
	}
	return inputs
}

func (u *Unmerge) writeFile(ctx context.Context, out string) error {
	f, err := publish.CreateFile(out, u.options.Force)
	if err != nil {
		return err
	}
	defer f.Abort()
	if err := f.Preallocate(u.files[0].size); err != nil {
		return err
	}
	w := &writer{progress: u.progress}
	defer w.close()
	if err := u.restore(ctx, w, f.Handle(), u.files[0]); err != nil {
		return publish.Explain(err, filepath.Dir(out), u.files[0].size)
	}
	if err := u.checkMerged(ctx); err != nil {
		return err
	}
	if err := u.checkBindings(ctx, f.Handle().Name()); err != nil {
		return err
	}
	return f.Commit()
}

// restore writes a file of the base and compares it with its digest: RC014.
func (u *Unmerge) restore(ctx context.Context, w *writer, f *os.File, plan restoredFile) error {
	sums := sumObserver(make([]record.Sum, record.Pieces(plan.size)))
	if u.record != nil {
		w.observer = sums
	}
	if _, err := w.file(ctx, f, plan.segments); err != nil {
		return err
	}
	if u.record == nil {
		return nil
	}
	if root := record.Digest(sums); root != plan.digest {
		return u.record.Fault("RC014", "", "file %q would have digest %s, the base's has %s", plan.name, root, plan.digest)
	}
	return nil
}

// A sumObserver sums up the chunks of a file.
type sumObserver []record.Sum

// sides implements observer.
func (o sumObserver) sides(start int64, data []byte) []side {
	return []side{{data: data, sums: o[start/record.PieceBytes:]}}
}

// chunk implements observer.
func (o sumObserver) chunk(int64, int, []*fragment) error { return nil }

func (u *Unmerge) writeFolder(ctx context.Context, out string) error {
	d, err := publish.CreateDir(out, u.options.Force)
	if err != nil {
		return err
	}
	defer d.Abort()
	w := &writer{progress: u.progress}
	defer w.close()
	for _, f := range u.files {
		if err := u.writeShard(ctx, d, w, f); err != nil {
			return publish.Explain(err, filepath.Dir(out), -1)
		}
	}
	if err := u.writeOthers(ctx, d); err != nil {
		return err
	}
	if err := u.checkMerged(ctx); err != nil {
		return err
	}
	if err := u.checkBindings(ctx, d.Path("")); err != nil {
		return err
	}
	return d.Commit()
}

func (u *Unmerge) writeShard(ctx context.Context, d *publish.Dir, w *writer, f restoredFile) error {
	d.Expect(f.name, f.size)
	if f.copyOf != nil {
		if err := f.copyOf.checkAll(ctx); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(d.Path(f.name)), 0o777); err != nil {
			return err
		}
		_, err := publish.CopyFileContext(ctx, d.Path(f.name), f.copyOf.file.Path(), u.progress)
		return err
	}
	file, err := d.Create(f.name)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := publish.Preallocate(file, f.size); err != nil {
		return err
	}
	if err := u.restore(ctx, w, file, f); err != nil {
		return err
	}
	return file.Close()
}

// checkMerged compares what was not used of the merged files, and refuses files
// that changed meanwhile.
func (u *Unmerge) checkMerged(ctx context.Context) error {
	for _, f := range u.intact {
		if err := f.checkAll(ctx); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := u.merged.Unchanged(); err != nil {
		return err
	}
	return unchanged(u.adapters)
}

// writeOthers writes the files beside the weights.
func (u *Unmerge) writeOthers(ctx context.Context, d *publish.Dir) error {
	if u.record == nil {
		return u.copyOthers(ctx, d)
	}
	for _, f := range u.record.Base.Files {
		if f.Content != nil {
			data, err := recordedFile(u.record, f, u.merged)
			if err != nil {
				return err
			}
			if err := writeSmall(d, f.Name, data); err != nil {
				return err
			}
			continue
		}
		if err := copyInto(ctx, d, u.merged.Dir(), f.Name); err != nil {
			return fmt.Errorf("file %q of the base: %w", f.Name, err)
		}
		got, err := fileDigest(d.Path(f.Name))
		if err != nil {
			return err
		}
		if got.SHA256 != f.SHA256 {
			return u.record.Fault("RC014", "", "file %q changed while it was copied", f.Name)
		}
	}
	return nil
}

// copyOthers copies what lies beside the weights, without a record.
func (u *Unmerge) copyOthers(ctx context.Context, d *publish.Dir) error {
	names, _, err := u.merged.OtherFiles()
	if err != nil {
		return err
	}
	if index := u.merged.Index(); index != nil {
		names = append(names, index.Name)
	}
	for _, name := range names {
		if name == SidecarName {
			continue
		}
		if err := copyInto(ctx, d, u.merged.Dir(), name); err != nil {
			return err
		}
	}
	return nil
}

func copyInto(ctx context.Context, d *publish.Dir, from, name string) error {
	path := d.Path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	_, err := publish.CopyFileContext(ctx, path, filepath.Join(from, filepath.FromSlash(name)), nil)
	return err
}
