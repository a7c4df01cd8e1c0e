package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	kv "github.com/libkv/libkv/bindings/go"
	"github.com/libkv/libkv/bindings/go/protobuf"
	"github.com/vmihailenco/msgpack/v5"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// The names of tags, by their numbers.
var codecs = []string{"raw", "json", "msgpack", "protobuf", "postcard", "text", "gob", "pickle"}

func tag(word string) kv.Tag {
	if at := slices.Index(codecs, word); at >= 0 {
		return kv.Tag(at)
	}
	return kv.Tag(number(word))
}

// moment has the fields of google.protobuf.Timestamp.
type moment struct {
	Seconds int64 `json:"seconds" msgpack:"seconds"`
	Nanos   int32 `json:"nanos" msgpack:"nanos"`
}

// useCodec does what a line says of codecs, if it does.
func (c *testCase) useCodec(operation string, args []string) (given string, isKnown bool, err error) {
	switch operation {
	case "set_as":
		_, err = c.db.SetWith(plain(args[1]), plain(args[2]), kv.SetOptions{Codec: tag(args[0])})
		return "ok", true, err
	case "get_as":
		value, err := c.db.GetAs(plain(args[1]), tag(args[0]))
		return word(value), true, err
	case "take_as":
		value, err := c.db.TakeAs(plain(args[1]), tag(args[0]))
		return word(value), true, err
	case "increment_as":
		by, err := strconv.ParseInt(args[2], 10, 64)
		must(err)
		given, err := count(c.db.IncrementAs(plain(args[1]), by, tag(args[0])))
		return given, true, err
	case "set_many_as":
		var batch kv.Batch
		for at := 1; at < len(args); at += 2 {
			batch.SetAs(plain(args[at]), plain(args[at+1]), kv.ExpireDefault, tag(args[0]))
		}
		return "ok", true, c.db.Apply(&batch)
	case "get_many_as":
		values, err := c.db.GetManyAs(plains(args[1:]), tag(args[0]))
		return many(values), true, err
	case "get_or_load_as":
		value, err := c.db.GetOrLoadWith(context.Background(), plain(args[1]), kv.LoadOptions{Codec: tag(args[0])}, loader(args[2]))
		return word(value), true, err
	case "scan_codecs":
		var words []string
		for entry, err := range c.db.Scan(kv.ScanOptions{Prefix: plain(args[0]), Ordered: true}) {
			if err != nil {
				return "", true, err
			}
			words = append(words, word(entry.Key)+"="+entry.Codec.String())
		}
		return list(words), true, nil
	case "codec":
		tag, err := c.db.Codec(plain(args[0]))
		return tag.String(), true, err
	case "set_moment":
		seconds, err := strconv.ParseInt(args[2], 10, 64)
		must(err)
		set := moment{seconds, int32(number(args[3]))}
		return "ok", true, c.setMoment(args[0], plain(args[1]), set)
	case "get_moment":
		found, err := c.getMoment(args[0], plain(args[1]))
		var failed *kv.Error
		if err != nil && !errors.As(err, &failed) && !errors.Is(err, kv.ErrNotFound) {
			return "error undecodable", true, nil
		}
		return fmt.Sprintf("%d %d", found.Seconds, found.Nanos), true, err
	}
	return "", false, nil
}

func (c *testCase) moments(codec string) *kv.Store[moment] {
	switch codec {
	case "json":
		return kv.NewStore(c.db, kv.Marshaled[moment](kv.TagJSON, json.Marshal, json.Unmarshal))
	case "msgpack":
		return kv.NewStore(c.db, kv.Marshaled[moment](kv.TagMessagePack, msgpack.Marshal, msgpack.Unmarshal))
	}
	panic("no moment is written by " + codec)
}

func (c *testCase) timestamps() *kv.Store[*timestamppb.Timestamp] {
	return kv.NewStore(c.db, protobuf.Codec[*timestamppb.Timestamp]())
}

func (c *testCase) setMoment(codec string, key []byte, set moment) error {
	if codec == "protobuf" {
		return c.timestamps().Set(key, &timestamppb.Timestamp{Seconds: set.Seconds, Nanos: set.Nanos})
	}
	return c.moments(codec).Set(key, set)
}

func (c *testCase) getMoment(codec string, key []byte) (moment, error) {
	if codec == "protobuf" {
		found, err := c.timestamps().Get(key)
		return moment{found.GetSeconds(), found.GetNanos()}, err
	}
	return c.moments(codec).Get(key)
}
