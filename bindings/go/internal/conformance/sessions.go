package main

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	kv "github.com/libkv/libkv/bindings/go"
)

// whole is a value and its metadata.
func whole(value []byte, metadata kv.Metadata) string {
	words := []string{word(value)}
	for _, name := range slices.Sorted(maps.Keys(metadata)) {
		words = append(words, word([]byte(name))+"="+word(metadata[name]))
	}
	return strings.Join(words, " ")
}

// useSession does what a line says of sessions and generated keys, if it does.
func (c *testCase) useSession(operation string, args []string) (given string, isKnown bool) {
	switch operation {
	case "lock":
		return c.takeOver(c.db.TryGetAndLock(plain(args[0]))), true
	case "create":
		oneOf(args[2], "new", "any")
		options := kv.CreateOptions{AllowExisting: args[2] == "any", Initial: plain(args[1])}
		return c.takeOver(c.db.TryCreateAndLock(plain(args[0]), options)), true
	case "session":
		return whole(c.session.Value, c.session.Metadata), true
	case "edit":
		c.session.Value, c.session.Metadata = plain(args[0]), make(kv.Metadata)
		for _, pair := range args[1:] {
			name, held, _ := strings.Cut(pair, "=")
			c.session.Metadata[string(plain(name))] = plain(held)
		}
		return "ok", true
	case "commit":
		oneOf(args[1], "end", "keep", "keep_on_failure", "delete")
		c.session.SetExpiry(expiry(args[0]))
		options := kv.CommitOptions{
			Keep: args[1] == "keep", KeepOnFailure: args[1] == "keep_on_failure", Delete: args[1] == "delete",
		}
		_, err := c.session.CommitWith(options)
		return answered("ok", err), true
	case "reload":
		return answered("ok", c.session.Reload()), true
	case "rollback":
		return answered("ok", c.session.Close()), true
	case "get_with_metadata":
		value, metadata, err := c.db.GetWithMetadata(plain(args[0]))
		return answered(whole(value, metadata), err), true
	case "generate":
		prefix := plain(args[0])
		key, err := c.db.GenerateKey(kv.KeyOptions{Prefix: prefix, Base: uint32(number(args[1])), Width: uint32(number(args[2]))})
		given := "earlier"
		if bytes.HasPrefix(key, prefix) && bytes.Compare(key, c.generated) > 0 {
			given = "later"
		}
		c.generated = key
		return answered(given, err), true
	}
	return "", false
}

func (c *testCase) takeOver(session *kv.Session, err error) string {
	if err == nil {
		if c.session != nil {
			must(c.session.Close())
		}
		c.session = session
	}
	return answered("ok", err)
}
