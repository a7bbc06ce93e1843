package merge

import (
	"context"
	"path/filepath"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/publish"
)

// Swap replaces the adapters in a merged checkpoint by others, without the
// base: it restores the base beside the output, under a temporary name, merges
// the others into it and removes it again. So it needs room for two
// checkpoints. The output is what merging into the base itself would give, and
// with Options.Record so is its record. The Unmerge must have one, from NewUnmerge.
func Swap(ctx context.Context, out string, u *Unmerge, with []Weighted, o Options) (*Report, error) {
	var needed int64
	for _, f := range u.files {
		needed += f.size
	}
	if err := u.Check(out); err != nil {
		return nil, err
	}
	inputs := append(u.inputs(), sources(with)...)
	if err := publish.Alias(out, inputs...); err != nil {
		return nil, err
	}
	if err := checkRecord(o.Record, out, inputs); err != nil {
		return nil, err
	}
	if err := publish.Require(filepath.Dir(filepath.Clean(out)), 2*needed); err != nil {
		return nil, err
	}
	// The folder never gets this name; its temporary one is removed with it.
	temp, err := publish.CreateDir(filepath.Clean(out)+".base", true)
	if err != nil {
		return nil, err
	}
	defer temp.Abort()
	path := temp.Path("base")
	if !u.record.Base.Folder {
		path = temp.Path(u.record.Base.Shards[0].Name)
	}
	if _, err := u.Write(ctx, path); err != nil {
		return nil, err
	}
	base, err := checkpoint.Open(path, checkpoint.Options{})
	if err != nil {
		return nil, err
	}
	defer base.Close()
	o.Force = u.options.Force
	return Apply(ctx, out, base, with, o)
}
