"""What a cleaning job does to one document: read, repair, judge; and what it counts.

In the order of the job: `read`, `licence_header`, `personal_data`, `quality`;
`statistics` adds up what every stage did. `decontamination` removes benchmark problems.
"""
