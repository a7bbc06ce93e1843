package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// CacheDirs returns the folders where the Hugging Face hub client keeps
// models, in the order in which it looks at its variables. getenv is
// os.Getenv, or a stand-in.
func CacheDirs(getenv func(string) string) []string {
	home := getenv("HOME")
	if home == "" {
		home = getenv("USERPROFILE")
	}
	var dirs []string
	for _, c := range []struct{ base, below string }{
		{getenv("HF_HUB_CACHE"), ""},
		{getenv("HUGGINGFACE_HUB_CACHE"), ""},
		{getenv("HF_HOME"), "hub"},
		{getenv("XDG_CACHE_HOME"), "huggingface/hub"},
		{home, ".cache/huggingface/hub"},
	} {
		if c.base == "" {
			continue
		}
		if rest, ok := strings.CutPrefix(c.base, "~"); ok && home != "" && (rest == "" || rest[0] == '/') {
			c.base = filepath.Join(home, rest)
		}
		dirs = append(dirs, filepath.Join(c.base, filepath.FromSlash(c.below)))
	}
	return dirs
}

// repoID is "name" or "org/name", and maybe "@revision", as the hub allows.
var repoID = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]{0,95}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,95}(@[A-Za-z0-9][A-Za-z0-9._/-]{0,254})?$`)

func isRepoID(s string) bool {
	return repoID.MatchString(s) && !strings.Contains(s, "..") && !strings.Contains(s, "--") && !strings.HasSuffix(s, shardSuffix)
}

// commit is the name of a snapshot folder.
var commit = regexp.MustCompile(`^[0-9a-f]{40}$`)

// findRepo returns the snapshot folder of a repository.
func findRepo(id string, cacheDirs []string) (string, error) {
	repo, rev, given := strings.Cut(id, "@")
	if !given {
		rev = "main"
	}
	folder := "models--" + strings.ReplaceAll(repo, "/", "--")
	for _, dir := range cacheDirs {
		root := filepath.Join(dir, folder)
		hash := rev
		if !commit.MatchString(hash) {
			ref, err := readLimited(filepath.Join(root, "refs", filepath.FromSlash(rev)), 1024, "")
			if err != nil {
				continue
			}
			hash = strings.TrimSpace(string(ref))
		}
		snapshot := filepath.Join(root, "snapshots", hash)
		if info, err := os.Stat(snapshot); commit.MatchString(hash) && err == nil && info.IsDir() {
			return snapshot, nil
		}
	}
	command := "hf download " + repo
	if given {
		command += " --revision " + rev
	}
	return "", &NotCachedError{Repo: repo, Revision: rev, Dirs: cacheDirs, Command: command}
}

// A NotCachedError says that a repository is not in the local cache.
type NotCachedError struct {
	Repo, Revision string
	Dirs           []string // where it was looked for
	Command        string   // of the hub client, to download it
}

// Error names the repository and the command that downloads it.
func (e *NotCachedError) Error() string {
	if len(e.Dirs) == 0 {
		return fmt.Sprintf("%s: no such file or folder, and HOME and HF_HOME, which say where the Hugging Face cache is, are not set", e.Repo)
	}
	return fmt.Sprintf("%s: no such file or folder, and revision %s is not in the Hugging Face cache (%s); to download it: %s",
		e.Repo, e.Revision, strings.Join(e.Dirs, ", "), e.Command)
}
