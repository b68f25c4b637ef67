# docker buildx bake --load --file deploy/docker-bake.hcl (from the repository's root)
# The environment overrides: set -a; . deploy/versions.env
variable "IMAGE" { default = "ghcr.io/hornbeam/hornbeam" }
variable "HORNBEAM_VERSION" { default = "0.1.0" }
variable "RAY_VERSION" { default = "2.60.0" }
variable "PLATFORMS" { default = "linux/amd64" }

group "default" {
  targets = ["image"]
}

target "image" {
  context    = "."
  dockerfile = "deploy/Dockerfile"
  target     = "image"
  tags       = ["${IMAGE}:${HORNBEAM_VERSION}-ray${RAY_VERSION}"]
  platforms  = split(",", PLATFORMS)
}
