"""The reasons that a failure can have, and what a person on call can do about each: data only."""

REASONS = (
    "insufficient_resources",
    "image_pull",
    "image_build",
    "health_check",
    "crash",
    "out_of_memory",
    "timeout",
    "quota",
    "billing",
    "storage",
    "credentials",
    "rollback",
    "node",
    "other",
)

REMEDIES = {
    "insufficient_resources": (
        "Wait for resources to be released, choose a smaller or another specification, or enlarge the "
        "resource pool; the cloud retries three times before the deployment fails."
    ),
    "image_pull": (
        "Check that the image and its tag still exist in SWR, that the service may read them, and that "
        "the disk of the node is larger than the unpacked image; then deploy again."
    ),
    "image_build": (
        "Read the build log of the model version, fix the Dockerfile, the dependencies or config.json, "
        "and import the model again."
    ),
    "health_check": (
        "Call the health check URL inside the container: path and port must be those of the model's "
        "configuration (/health on port 8080 unless set otherwise), and the first answer must come in "
        "time."
    ),
    "crash": (
        "Read the log of the container for the first error: a missing module, a wrong start command or "
        "a wrong port; exit code 137 most often means that memory ran out. Mend the image or the "
        "inference code."
    ),
    "out_of_memory": (
        "Choose a specification with more memory, or make model, batch size or number of workers "
        "smaller; look for a leak if the service ran well at first."
    ),
    "timeout": (
        "Check that the container listens on the configured port: a wrong one waits up to 20 minutes "
        "without any abnormal event. If the model merely loads slowly, raise the deployment timeout (20 "
        "minutes unless set; 3 to 120)."
    ),
    "quota": (
        "Stop or delete what is not needed, or ask for a higher quota for services, instances or "
        "specification."
    ),
    "billing": (
        "Settle the bill or renew the licence of the account; stopped services are to be started again "
        "afterwards."
    ),
    "storage": (
        "Check that the OBS path or the SFS Turbo share exists, is in the same region and can be "
        "reached from the pool, and that the agency of ModelArts may read it."
    ),
    "credentials": (
        "Check the agency of ModelArts, the permissions of the user and the DEW secret that the service "
        "names; renew what has expired."
    ),
    "rollback": (
        "The new version did not come up and the former one was put back: find the cause in the "
        "abnormal events before this one. If the rollback failed too, nothing may be serving: deploy "
        "the last good version by hand."
    ),
    "node": (
        "Look at the events of the resource pool; restart or replace the faulty node, then deploy again."
    ),
    "other": (
        "Read the error in the text and the events around it; if they do not tell, ask the vendor's "
        "support with the id of the service."
    ),
}
