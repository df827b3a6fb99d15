-- How the media of a call went, and why: "relayed: ...", "direct: ...", or empty where it did not come to that.

-- +goose Up
ALTER TABLE call ADD COLUMN media TEXT NOT NULL DEFAULT '';
