"""What several tests share: hands, files of datasets, small networks, reference implementations."""
