"""The container engine: builds, containers, images, and what they read and leave."""
